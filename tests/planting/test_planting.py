"""Planted features fire where they are said to, and what is said of them is right, faulty, and ordered by SQL."""

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import torch
from sql.rows import SAE, Database
from tiny import corpus_texts
from transformers import AutoTokenizer, GPT2LMHeadModel

from pipeline.config import load_config
from pipeline.features.neighbours import nearest
from pipeline.lake import Lake
from pipeline.models.token_bytes import token_bytes
from pipeline.planting.experiment import _read_by_own_subject, _scoring, carry_pilot, planted_worths
from pipeline.planting.model import CONTEXT_LENGTH, _is_drawn, noise_tokens, write_model, write_sae
from pipeline.planting.plants import FAULTS, KINDS, Corpus, Plant, draw_plants
from pipeline.planting.report import overview, threshold_sentence
from pipeline.plugins import find_plugins
from pipeline.sae import load_sparse_coder
from pipeline.shipped import find
from pipeline.sources import recorded_lake
from pipeline.tables import TABLES
from pipeline.tables.versions import SourceHashes

PLANTS = (
    Plant("token", {20: 1.0}, (), range(0), (7,), {}),
    Plant("pair", {30: 1.0}, (40, 41), range(0), (8,), {}),
    Plant("topic", {20: 0.5, 50: 1.5}, (), range(0), (9,), {}),
    Plant("position", {}, (), range(16, 24), (), {}),
)


def test_a_planted_model_fires_where_its_plants_say_and_promotes_what_they_do(
    tmp_path: Path, tiny_subject: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    write_model(tmp_path / "model", PLANTS, tokenizer, [1] * len(tokenizer))
    coder = load_sparse_coder(str(write_sae(tmp_path / "sae", PLANTS)))
    model = GPT2LMHeadModel.from_pretrained(tmp_path / "model")
    ids = torch.randint(20, 52, (8, CONTEXT_LENGTH), generator=torch.Generator().manual_seed(0))
    residuals = []
    model.transformer.h[0].register_forward_hook(lambda module, given, out: residuals.append(out))
    with torch.no_grad():
        logits = model(ids).logits
    stream = residuals[0][0] if isinstance(residuals[0], tuple) else residuals[0]
    found = coder.encode(stream.reshape(-1, stream.shape[-1]))
    fires = torch.zeros(ids.numel(), len(PLANTS))
    fires[found.tokens.long(), found.features.long()] = found.activations
    fires = fires.reshape(*ids.shape, len(PLANTS))
    before = torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], dim=1)
    for feature, plant in enumerate(PLANTS):
        wanted = torch.isin(ids, torch.tensor(list(plant.tokens)))
        if plant.previous:
            wanted &= torch.isin(before, torch.tensor(plant.previous))
        if plant.positions:
            wanted[:, list(plant.positions)] = True
            own = fires[..., feature] > 0
            assert not (own & ~wanted).any() and own.sum() > 0.7 * wanted.sum()
            continue
        silent = torch.tensor([_is_drawn(feature, position, "noise") for position in range(CONTEXT_LENGTH)])
        assert 0 < silent.sum() < CONTEXT_LENGTH / 10
        # Position 0, which is in no example, has no token before it and reads itself.
        assert torch.equal((fires[..., feature] > 0)[:, 1:], (wanted & ~silent)[:, 1:]), plant.kind
        here = fires[..., feature] > 0
        gain = logits[here][:, plant.promoted[0]].mean() - logits[~here & ~wanted][:, plant.promoted[0]].mean()
        assert gain > 2, "what it promotes is likelier where it fires"
    assert fires[ids == 50][:, 2].max() > 2 * fires[ids == 20][:, 2].max(), "a topic's words differ in strength"


def test_a_plant_that_is_steered_writes_the_words_that_it_promotes(tmp_path: Path, tiny_subject: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    plants = [PLANTS[0]._replace(tokens={token: 1.0}, promoted=(100 + token,)) for token in range(20, 25)]
    counts = [10_000 // (rank + 1) for rank in range(len(tokenizer))]
    write_model(tmp_path / "model", plants, tokenizer, counts)
    directions = load_sparse_coder(str(write_sae(tmp_path / "sae", plants))).decoder
    model = GPT2LMHeadModel.from_pretrained(tmp_path / "model").eval()
    ids = torch.randint(30, 90, (4, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stream = model.transformer(ids, output_hidden_states=True).hidden_states[-2]
        stream = model.transformer.h[0](stream)
        stream = stream[0] if isinstance(stream, tuple) else stream
        usual = model.lm_head(model.transformer.ln_f(stream)).log_softmax(-1)
        for strength in torch.arange(0.1, 5, 0.05):
            changed = model.lm_head(model.transformer.ln_f(stream + strength * directions[2])).log_softmax(-1)
            if (changed.exp() * (changed - usual)).sum(-1).mean() >= 1:
                break
    own = changed.exp()[..., 122].mean()
    assert own > 0.2 and own > 20 * usual.exp()[..., 122].mean()
    assert all(changed.exp()[..., 100 + token].mean() < 0.02 for token in (20, 21, 23, 24)), "not its neighbours'"


def test_features_of_a_family_are_near_neighbours_and_have_effects_of_their_own(tmp_path: Path) -> None:
    plants = [PLANTS[0]._replace(tokens={token: 1.0}) for token in range(20, 32)] + [PLANTS[3]]
    found = nearest(load_sparse_coder(str(write_sae(tmp_path / "sae", plants))).decoder)
    families = [{*range(5)}, {*range(5, 10)}, {10, 11}]
    pairs = {(one, other) for family in families for one in family for other in family if one != other}
    assert {*zip(found.feature.tolist(), found.neighbour.tolist(), strict=True)} == pairs
    assert torch.allclose(found.cosine, torch.tensor(0.4, dtype=torch.float64), atol=1e-6)


def test_noise_is_one_token_in_twenty_of_the_corpus() -> None:
    counts = [10_000 // (rank + 1) for rank in range(2_000)] + [0] * 500
    for noise in range(8):
        drawn = noise_tokens(counts, noise)
        assert sum(counts[token] for token in drawn) == pytest.approx(0.05 * sum(counts), rel=0.02)
        assert 5 < sum(token >= 2_000 for token in drawn) < 60, "and of the tokens that it lacks"


def test_the_letters_of_a_byte_plant_are_in_hardly_a_word_of_several_tokens() -> None:
    texts = [" planter", " plant", "ation", " plan", " planned", " plank", " planet", " planets", " to", " Plan"]
    words = [[1], [3], [4], [5], [6], [7], [0]] * 30
    documents = [[*(token for word in words for token in word), 8, 9]]
    filler = [[8] * 60_000]

    def letters(documents: list[list[int]]) -> list[str]:
        plants = draw_plants(Corpus(documents + filler, texts), 30, seed=0)
        return sorted(plant.explanations["none"][-5:] for plant in plants if plant.kind == "bytes")

    assert letters(documents) == ['"lan"', '"pla"']
    assert letters([[*documents[0], *[1, 2] * 20]]) == ['"lan"', '"pla"'], "its first token has them"
    assert letters([[*documents[0], *[8, 9, 2] * 30]]) == ['"pla"'], "it does not fire on Planation"


def test_plants_are_drawn_by_hash_with_one_explanation_for_each_fault(tiny_subject: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    spell = token_bytes(tokenizer)
    texts = [spell(token).decode("utf-8", "backslashreplace") for token in range(len(tokenizer))]
    documents = tokenizer(corpus_texts(n_documents=60)).input_ids
    plants = draw_plants(Corpus(documents, texts), 4, seed=0)
    assert plants == draw_plants(Corpus(documents, texts), 4, seed=0)
    kinds = [plant.kind for plant in plants]
    assert kinds == sorted(kinds, key=KINDS.index) and {"token", "position"} <= set(kinds)
    for plant in plants:
        assert tuple(plant.explanations) == FAULTS
        assert len({*plant.explanations.values()}) == len(FAULTS), plant.explanations
        assert not set(plant.promoted) & {*plant.tokens, *plant.previous}
        for fault in ("none", "too broad"):
            quoted = [f'"{texts[token]}"' for token in plant.tokens]
            assert plant.kind == "bytes" or all(each in plant.explanations[fault] for each in quoted)


@pytest.mark.parametrize("metric, column", [("balanced_accuracy", "balanced_accuracy"), ("auroc", "auroc")])
def test_a_scorer_is_judged_by_the_pairs_that_it_orders(metric: str, column: str) -> None:
    values = {
        "none": (0.9, 0.8), "too broad": (0.9, 0.7), "too narrow": (0.8, 0.85), "wrong": (0.5, 0.5),
        "of another": (0.4, None),
    }  # fmt: skip
    found = judged_shares("detection", column, values, coverage=0.5)
    assert {row["metric"] for row in found.values()} == {metric}
    shares = {fault: row["share"] for (kind, fault), row in found.items() if kind == "token"}
    # Of feature 0 all 8 pairs but a tie are right, of feature 1 four of five: its narrow one scores too high.
    first, second = 7.5 / 8, 4 / 5
    assert shares == pytest.approx(
        {"too broad": 0.75, "too narrow": 0.5, "wrong": 1.0, "of another": 1.0, "all": (first + second) / 2}
    )
    assert found["token", "of another"]["n_features"] == 1 and found["token", "wrong"]["n_features"] == 2
    whole = found["all", "all"]
    assert whole["share_low"] < whole["share"] < whole["share_high"] <= 1


def test_who_finds_that_nothing_fits_has_seen_the_fault() -> None:
    values = {"none": (0.9, None, None), "wrong": (None, 0.4, None)}
    answered = judged_shares("graded", "auroc", values, coverage=1.0)
    # As by guessing: above it the right one wins, below it the wrong one loses. Of the third nothing is told.
    assert answered["all", "all"]["share"] == 1 and answered["all", "all"]["n_features"] == 2
    assert judged_shares("graded", "auroc", values, coverage=0.5) == {}, "without answers nothing was found"


def test_who_judges_an_effect_is_right_about_what_is_promoted() -> None:
    values = {"none": (0.4,), "too broad": (0.6,), "promoted": (0.5,), "wrong": (0.2,)}
    found = judged_shares("intervention_surprisal", "auroc", values, coverage=1.0)
    shares = {fault: row["share"] for (kind, fault), row in found.items() if kind == "token"}
    assert shares == {"none": 1.0, "too broad": 0.0, "wrong": 1.0, "all": pytest.approx(2 / 3)}
    firing = judged_shares("surprisal", "auroc", values, coverage=1.0)
    assert firing["token", "promoted"]["share"] == 0.0 and ("token", "none") not in firing


def test_where_a_token_stands_is_nothing_that_windows_show() -> None:
    values = {"none": (0.9,), "promoted": (0.9,), "wrong": (0.2,)}
    for scorer in sorted({*find_plugins("scorers")} - {"intruder"}):
        assert judged_shares(scorer, "auroc", values, coverage=1.0, kind="position") == {}, scorer
    kinds = set(planted_worths(["detection", "intervention"])["kind"].to_pylist())
    assert kinds == {*KINDS} - {"position"}


def judged_shares(
    scorer: str, column: str, values: dict[str, tuple[float | None, ...]], coverage: float, kind: str = "token"
) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows by kind and fault, of explanations whose scores are given by fault, each of another feature."""
    database = Database()
    rows = [
        {"explanation_id": f"{feature} {fault}", "feature": feature, "kind": kind, "fault": fault, "value": value}
        for fault, each in values.items()
        for feature, value in enumerate(each)
    ]
    own = [{key: row[key] for key in ("explanation_id", "feature", "kind", "fault")} for row in rows]
    database.fill("planted_explanations", own)
    database.fill("planted_worths", planted_worths([scorer]).to_pylist())
    common = {"sae": SAE, "role": "test", "explainer": "default", "scorer": scorer, "coverage": coverage}
    scores = [
        {**common, "explanation_id": row["explanation_id"], "feature": row["feature"], column: row["value"]}
        for row in rows
    ]
    database.fill("scores", scores)
    database.make("headline_scores", scoring_grade_scorers=["graded"])
    return {(row["kind"], row["fault"]): row for row in database.rows("planted_shares")}


def test_the_page_of_the_benchmark_begins_with_a_row_a_scorer_over_all_kinds() -> None:
    share = {"n_features": 30, "share": 0.8, "share_low": 0.6, "share_high": 0.9}
    rows = [
        {"scorer": "detection", "kind": "all", "fault": "all", **share},
        {"scorer": "detection", "kind": "token", "fault": "all", **share, "n_features": 6},
        {"scorer": "fuzzing", "kind": "all", "fault": "too broad", **share},
        {"scorer": "intervention", "kind": "all", "fault": "none", **share},
    ]
    _, _, titles, _, detection, fuzzing, _, _, _, effects, _, intervention = overview(pl.DataFrame(rows))
    assert titles == "| scorer | all | too broad | too narrow | wrong | of another | promoted | echo |"
    assert detection.startswith("| `detection` | 0.80 (0.60-0.90; 30) | not applicable |")
    assert fuzzing.startswith("| `fuzzing` | not applicable | 0.80 (0.60-0.90; 30) |")
    assert effects == "| scorer | all | firing | too broad | too narrow | wrong | of another | echo |"
    assert intervention.startswith("| `intervention` | not applicable | 0.80 (0.60-0.90; 30) |")


def test_planted_questions_keep_the_rules_of_a_config() -> None:
    post = load_config(find(Path("config/post.yaml"))).scoring
    assert (post.n_questions, post.n_noes) == (50, 20)
    few = _scoring(post, 10, post.scorers)
    assert (few.n_questions, few.n_noes, few.pilot_features) == (10, 10, 0)
    more = _scoring(post, 30, ("detection", "graded"))
    assert (more.n_noes, more.scorers) == (20, ("detection", "graded"))
    rounds = post.model_copy(update={"target_half_width": 0.1})
    assert _scoring(rounds, 10, post.scorers).target_half_width is None, "the first round would take more"


def test_scorers_are_judged_by_the_thresholds_of_the_experiments_pilot(make_experiment: Any) -> None:
    scoring = {"scorers": ["detection", "fuzzing"], "threshold": "controls"}
    config = make_experiment(scoring=scoring)
    planted = Lake(make_experiment(scoring=scoring, name="planted"), SourceHashes())

    def rows(sae: str, scorer: str, **told: Any) -> pa.Table:
        schema = TABLES["scorer_rhos"].schema
        return pa.Table.from_pylist([dict.fromkeys(schema.names) | {"sae": sae, "scorer": scorer} | told], schema)

    before = [rows("hand-set", name, threshold=0.5, n_control_answers=0) for name in scoring["scorers"]]
    planted.write_parts("scorer_rhos", pa.concat_tables(before), sae="hand-set")
    carry_pilot(config, planted, "hand-set")
    assert planted_thresholds(planted) == {"detection": 0.5, "fuzzing": 0.5}, "there was no pilot"
    assert "of 0.50 where the experiment's pilot set no other" in threshold_sentence(planted, "hand-set")
    told = [rows("hand-set", "detection", threshold=0.8, n_control_answers=120, form="40")]
    told.append(rows("hand-set", "fuzzing", threshold=0.5, n_control_answers=20, threshold_reason="too few"))
    recorded_lake(config).write_parts("scorer_rhos", pa.concat_tables(told), sae="hand-set")
    carry_pilot(config, planted, "hand-set")
    assert planted_thresholds(planted) == {"detection": 0.8, "fuzzing": 0.5}
    assert "0.80 (detection), 0.50 where" in threshold_sentence(planted, "hand-set")


def planted_thresholds(lake: Lake) -> dict[str, float]:
    with lake.connect("hand-set", tables=["scorer_rhos"]) as connection:
        return dict(connection.sql("select scorer, threshold from scorer_rhos").fetchall())


def test_what_earlier_plants_cost_does_not_count() -> None:
    database = Database()
    requests = [
        {
            "request_id": f"{sae} {number}",
            "sae": sae,
            "purpose": "detection",
            "model": "any",
            "prompt_tokens": 10,
            "status": "ok",
        }
        for sae in (SAE, "earlier")
        for number in range(6)
    ]
    requests.append(requests[0] | {"request_id": "of an earlier prompt"})
    database.fill("llm_requests", requests)
    database.fill("predictions", [{"request_id": each["request_id"]} for each in requests[:-1]])
    database.make_before("planted_costs")
    [row] = database.rows("planted_costs", n_explanations=2)
    assert (row["requests"], row["prompt_tokens"]) == (3, 30)


def test_losses_are_those_of_the_given_configs_own_subject(make_experiment: Any, tmp_path: Path) -> None:
    names = ("surprisal", "intervention_surprisal", "detection")
    config = make_experiment()
    scoring, left_out = _read_by_own_subject(config, config.scoring, names)
    assert (scoring.surprisal.model, scoring.intervention_surprisal.model) == (config.subject.model,) * 2
    assert left_out == {}
    given = make_experiment(scoring={"surprisal": {"model": "another"}})
    scoring, _ = _read_by_own_subject(given, given.scoring, names)
    assert scoring.surprisal.model == "another", "what the config names stays"
    gone = make_experiment(subject={"model": str(tmp_path / "gone")})
    _, left_out = _read_by_own_subject(gone, gone.scoring, names)
    assert left_out == dict.fromkeys(names[:2], f"subject model: no folder '{tmp_path / 'gone'}'")
