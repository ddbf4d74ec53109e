"""Scrambled contexts through the subject model: known answers, restarts, and what does not change the rows."""

import polars as pl
import pytest
from tiny import ANIMAL, COLOUR, STOP, hand_set_entry, open_lake, rows_of, write_random_sae

from pipeline.corpus.contexts import write_contexts
from pipeline.corpus.documents import write_documents
from pipeline.corpus.tokens import write_tokens
from pipeline.features import scrambled_contexts
from pipeline.features.scrambled_contexts import write_scrambled_contexts
from pipeline.firings.forward import encode_batch
from pipeline.firings.store import write_activations
from pipeline.firings.write import write_activation_shards
from pipeline.make_table import make_table
from pipeline.sae.write import write_saes

FEW_FIRINGS = {"min_firings": 5}


def up_to_statistics(config):
    """The experiment's lake with every table that the verification reads."""
    lake = open_lake(config)
    for write in (write_saes, write_documents, write_tokens):
        write(lake)
    for shard in range(config.corpus.shards):
        write_contexts(lake, shard)
    make_table(lake, "slots")
    for shard in range(config.corpus.shards):
        write_activation_shards(lake, shard)
    for sae in config.sae_names:
        write_activations(lake, sae)
        for table in ("feature_tokens", "feature_stats"):
            make_table(lake, table, sae=sae)
    return lake


def rows(lake, sae="hand-set"):
    return pl.read_parquet(lake.path("scrambled_contexts", sae=sae))


def test_features_of_the_embedding_fire_on_their_tokens_in_any_context(make_experiment, answers):
    lake = up_to_statistics(make_experiment(heuristics=FEW_FIRINGS))
    published = write_scrambled_contexts(lake, "hand-set")
    found = rows(lake)
    assert set(found["feature"]) == {STOP, COLOUR}  # ANIMAL has forty tokens
    assert {feature: set(found.filter(feature=feature)["token_id"]) for feature in (STOP, COLOUR)} == {
        feature: set(answers[feature]) for feature in (STOP, COLOUR)
    }
    assert (found["n_active"] == found["n_contexts"]).all()
    assert found["n_contexts"].sum() == 2 * 4
    assert found["place"].min() >= 1
    assert found["place"].max() <= 19
    for row in found.iter_rows(named=True):
        assert row["mean_activation"] == answers[row["feature"]][row["token_id"]]
        assert row["fire_share"] == 1.0
        assert row["n_fillers"] == 18 * row["n_contexts"]
    assert (published.figures["texts_read"], published.figures["share_active"]) == (8, 1.0)
    make_table(lake, "context_independence", sae="hand-set")
    assert {row["share_of_features"] for row in rows_of(lake, "from context_independence")} == {2 / 8}


def test_with_a_bos_the_token_stands_one_place_later_and_still_fires(make_experiment):
    config = make_experiment(corpus={"prepend_bos": True}, heuristics=FEW_FIRINGS)
    lake = up_to_statistics(config)
    write_scrambled_contexts(lake, "hand-set")
    found = rows(lake)
    assert (found["n_active"] == found["n_contexts"]).all()
    assert found["place"].min() >= 2
    assert (found["n_fillers"] == 19 * found["n_contexts"]).all()


def test_a_deeper_feature_may_fall_silent_among_random_tokens(make_experiment, tmp_path):
    write_random_sae(tmp_path / "deep", n_features=64, k=8)
    entry = hand_set_entry(tmp_path / "deep", "deep", 64) | {"hookpoint": "layers.1"}
    lake = up_to_statistics(make_experiment(saes=[entry], heuristics={"min_firings": 5, "max_tokens": 60}))
    write_scrambled_contexts(lake, "deep")
    found = rows(lake, "deep")
    share = found["n_active"].sum() / found["n_contexts"].sum()
    assert 0.05 < share < 0.95
    assert found["n_fillers_active"].sum() > 0


def test_batch_size_and_pieces_change_no_row(make_experiment, tmp_path, monkeypatch):
    lake = up_to_statistics(make_experiment(heuristics=FEW_FIRINGS))
    write_scrambled_contexts(lake, "hand-set")
    expected = rows(lake)
    monkeypatch.setattr(scrambled_contexts, "PIECE_TOKENS", 40)
    other = up_to_statistics(
        make_experiment(heuristics=FEW_FIRINGS, machine={"lake": str(tmp_path / "other"), "batch_tokens": 20})
    )
    write_scrambled_contexts(other, "hand-set")
    assert rows(other).equals(expected)


def test_a_killed_pass_goes_on_with_the_piece_it_was_in(make_experiment, monkeypatch):
    monkeypatch.setattr(scrambled_contexts, "PIECE_TOKENS", 40)  # two of eight texts
    lake = up_to_statistics(make_experiment(heuristics=FEW_FIRINGS))
    read = []

    def killed_at_the_third(batch, subject, readers):
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append(batch)
        return encode_batch(batch, subject, readers)

    monkeypatch.setattr(scrambled_contexts, "encode_batch", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_scrambled_contexts(lake, "hand-set")
    assert not lake.has("scrambled_contexts", sae="hand-set")
    second: list[object] = []

    def counted(batch, subject, readers):
        second.append(batch)
        return encode_batch(batch, subject, readers)

    monkeypatch.setattr(scrambled_contexts, "encode_batch", counted)
    write_scrambled_contexts(lake, "hand-set")
    assert (len(read), len(second)) == (2, 2)
    found = rows(lake)
    assert found["n_contexts"].sum() == 8
    assert (found["n_active"] == found["n_contexts"]).all()
    assert not list((lake.root / ".tmp").iterdir())


def test_without_candidates_no_model_is_loaded(make_experiment, monkeypatch):
    lake = up_to_statistics(make_experiment(heuristics={"min_firings": 10**9}))
    monkeypatch.setattr(scrambled_contexts, "load_subject", lambda *_: pytest.fail("the model was loaded"))
    assert write_scrambled_contexts(lake, "hand-set").n_rows == 0
    assert ANIMAL not in rows(lake)["feature"]
