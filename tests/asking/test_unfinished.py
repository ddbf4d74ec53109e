"""What is unfinished is asked of the tables once; of a batch whose files have not changed no more."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.asking import unfinished
from pipeline.config import Config
from pipeline.lake import Lake
from pipeline.tables import TABLES
from pipeline.tables.versions import SourceHashes

SAE = "hand-set"
BY_BATCH = ("examples", "fuzzing_pairs", "explanations", "predictions", "scores", "score_details")


def fill(lake: Lake, table: str, rows: list[dict[str, object]], **partition: int) -> None:
    schema = TABLES[table].schema
    whole = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)
    if table in {"explanations", "predictions"}:
        lake.write_parts(table, whole, sae=SAE, batch=partition["batch"])
    else:
        lake.write(table, whole, sae=SAE, **partition)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[Path]]:
    """The files of explanations that each look at the tables has read."""
    asked: list[list[Path]] = []
    ask = Lake.query

    def query(self: Lake, name: str, **values: object) -> object:
        if name == "unfinished_batches":
            asked.append([path for path in values["given"]["explanations"] if path.stem != "schema"])
        return ask(self, name, **values)

    monkeypatch.setattr(Lake, "query", query)
    return asked


@pytest.fixture
def lake(make_experiment: Callable[..., Config]) -> Lake:
    """Five batches of a feature, of which 1 and 3 are wanted, the latter more; nothing was done in them."""
    config = make_experiment(selection={"batch_size": 1})
    lake = Lake(config, SourceHashes("made", {SAE: "made"}, "float32"))
    wanted = [{"sae": SAE, "feature": each, "batch": each, "place": 1, "priority": each} for each in (1, 3)]
    fill(lake, "selected_features", wanted)
    for table, batch in product(BY_BATCH, (1, 3)):
        fill(lake, table, [], batch=batch)
    return lake


def explain(lake: Lake, feature: int, status: str) -> None:
    row = {"sae": SAE, "feature": feature, "explanation_id": f"e{feature}", "status": status, "is_chosen": True}
    fill(lake, "explanations", [row], batch=feature)


def test_the_answer_is_that_of_the_tables_and_files_that_are_as_they_were_are_not_read_again(
    lake: Lake, asked: list[list[Path]]
) -> None:
    assert unfinished.unfinished_batches(lake) == [(SAE, 3), (SAE, 1)]
    assert unfinished.unfinished_batches(lake) == [(SAE, 3), (SAE, 1)] and len(asked) == 1
    assert unfinished.unfinished_batches(lake, [(SAE, 1), (SAE, 0)]) == [(SAE, 1)] and len(asked) == 2
    explain(lake, 3, "refused")
    assert unfinished.unfinished_batches(lake, [(SAE, 1)]) == [(SAE, 1)] and len(asked) == 2
    assert unfinished.unfinished_batches(lake) == [(SAE, 1)]
    assert {path.stem for path in asked.pop()} == {"00003"} and len(asked) == 2
    explain(lake, 3, "http_error")
    explain(lake, 1, "ok")
    assert unfinished.unfinished_batches(lake) == [(SAE, 3), (SAE, 1)]
    fill(lake, "scores", [{"sae": SAE, "feature": 1, "explanation_id": "e1", "scorer": "detection"}], batch=1)
    assert unfinished.unfinished_batches(lake) == [(SAE, 3)]
    wanted = [{"sae": SAE, "feature": 0, "batch": 0, "place": 1, "priority": 0}]
    fill(lake, "selected_features", wanted)
    assert unfinished.unfinished_batches(lake) == [(SAE, 0)]


def test_a_later_process_reads_the_batches_alone_that_have_changed_since(
    lake: Lake, asked: list[list[Path]]
) -> None:
    explain(lake, 1, "refused")
    explain(lake, 3, "http_error")
    for _ in range(2):
        assert unfinished.unfinished_batches(lake) == [(SAE, 3)]
    assert len(asked) == 1
    explain(lake, 3, "refused")
    assert unfinished.unfinished_batches(lake) == []
    assert {path.stem for path in asked[-1]} == {"00003"} and len(asked) == 2


def test_a_batch_that_lacks_a_file_is_open_whatever_its_rows_say(lake: Lake) -> None:
    """A process was killed between two tables, or a setting has changed of which no other table depends."""
    explain(lake, 1, "refused")
    explain(lake, 3, "refused")
    assert unfinished.unfinished_batches(lake) == []
    lake.path("score_details", sae=SAE, batch=3).unlink()
    assert unfinished.unfinished_batches(lake) == [(SAE, 3)]


def test_an_explainer_that_is_new_is_asked_though_no_explanation_waits_for_a_score(lake: Lake) -> None:
    explain(lake, 1, "refused")
    explain(lake, 3, "not_asked")
    assert unfinished.unfinished_batches(lake) == []
    explaining = lake.config.explaining
    explaining = explaining.model_copy(update={"explainers": (*explaining.explainers, "keywords")})
    changed = Lake(lake.config.model_copy(update={"explaining": explaining}), lake.hashes)
    assert unfinished.unfinished_batches(changed) == [(SAE, 3), (SAE, 1)]
    assert unfinished.unfinished_batches(lake) == []


@pytest.mark.parametrize("torn", ["", "[[", '{"a": 1}', "[[1, 2]]", "[null]", "7"])
def test_what_an_earlier_process_left_may_be_torn(lake: Lake, torn: str) -> None:
    (lake.root / unfinished.KEPT_FILE).write_text(torn, encoding="utf-8")
    assert unfinished.unfinished_batches(lake) == [(SAE, 3), (SAE, 1)]


def test_a_changed_setting_is_looked_at_again_by_a_later_process(lake: Lake) -> None:
    explain(lake, 1, "ok")
    explain(lake, 3, "ok")
    assert unfinished.unfinished_batches(lake) == [(SAE, 3), (SAE, 1)]
    scoring = lake.config.scoring.model_copy(update={"max_features": 0})
    changed = Lake(lake.config.model_copy(update={"scoring": scoring}), lake.hashes)
    assert unfinished.unfinished_batches(changed) == [(SAE, 3), (SAE, 1)]
    for table, batch in product(("predictions", "scores", "score_details"), (1, 3)):
        fill(changed, table, [], batch=batch)
    assert unfinished.unfinished_batches(changed) == []
