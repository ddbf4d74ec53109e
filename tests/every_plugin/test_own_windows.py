"""Test windows that one scorer alone asks about: a part of `examples` of its own, which moves no other row."""

from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from tiny import stored

from pipeline.lake.checks import repeated_keys
from pipeline.make_table import make_table, read_table
from pipeline.plugins import find_plugins
from pipeline.tables.stages import own_windows
from pipeline.tables.versions import SourceHashes, Versions

pytestmark = pytest.mark.whole

SAE = "hand-set"
OWN = [name for name, plugin in find_plugins("scorers").items() if own_windows(plugin)]


def test_it_is_these_scorers_that_have_windows_of_their_own() -> None:
    assert OWN == ["intruder", "neighbours"]


def test_windows_of_a_further_scorers_own_are_made_beside_those_that_are_there(copied_lake: Any) -> None:
    open_copy = copied_lake()
    before = open_copy(scoring={"scorers": ["detection"], "n_questions": 6})
    make_table(before, "examples", sae=SAE, batch=0)
    path = before.path("examples", sae=SAE, batch=0)
    shared = pq.read_table(path)
    scorers = ["detection", *OWN, "intruder@other"]
    after = open_copy(scoring={"scorers": scorers, "n_questions": 6, "models": {"other": {}}})
    assert not after.has("examples", sae=SAE, batch=0)
    published = make_table(after, "examples", sae=SAE, batch=0)
    assert after.path("examples", sae=SAE, batch=0) == path and pq.read_table(path).equals(shared)
    own = {name: pl.DataFrame(pq.read_table(after.path("examples", sae=SAE, batch=0, part=name))) for name in OWN}
    assert published.n_rows - shared.num_rows == sum(rows.height for rows in own.values()) > 0
    assert own["neighbours"]["neighbour"].is_not_null().all() and own["neighbours"]["draw"].is_null().all()
    assert own["intruder"]["draw"].min() > 6 and set(own["intruder"]["kind"]) == {"activating"}
    assert all(set(rows["role"]) == {"test"} for rows in own.values())
    assert repeated_keys(after, "examples", sae=SAE, batch=0) == 0
    # What is made unwritten for a pilot or an estimate is what a run makes.
    made = pl.DataFrame(read_table(after, "examples", sae=SAE, batch=0))
    assert made.sort("example_id").equals(pl.concat([pl.DataFrame(shared), *own.values()]).sort("example_id"))


def test_a_feature_that_joins_with_a_further_scorer_has_windows_of_both_kinds(copied_lake: Any) -> None:
    open_copy = copied_lake()
    before = open_copy(scoring={"scorers": ["detection"]})
    selected = stored(before, "selected_features", sae=SAE)
    joining = selected["feature"].max()
    before.write("selected_features", selected.filter(pl.col("feature") != joining).to_arrow(), sae=SAE)
    make_table(before, "examples", sae=SAE, batch=0)
    assert joining not in set(stored(before, "examples", sae=SAE, batch=0)["feature"])
    after = open_copy(scoring={"scorers": ["detection", *OWN]})
    after.write("selected_features", selected.to_arrow(), sae=SAE)
    make_table(after, "examples", sae=SAE, batch=0)
    for part in (None, *OWN):
        rows = pq.read_table(after.path("examples", sae=SAE, batch=0, part=part))
        assert set(rows["feature"].to_pylist()) == set(selected["feature"]), part


@pytest.mark.parametrize("further", sorted(find_plugins("scorers").keys() - {"detection", "simulation"}))
def test_naming_a_further_scorer_makes_no_row_of_the_others_anew(make_experiment: Any, further: str) -> None:
    def versions(scorers: list[str]) -> dict[tuple[str, str | None], str]:
        config = make_experiment(scoring={"scorers": scorers})
        made = [(table, name) for table in ("predictions", "scorer_rhos") for name in ("detection", "simulation")]
        made += [("explanations", "default"), *((table, None) for table in ("examples", "fuzzing_pairs"))]
        return {each: Versions(config, SourceHashes()).of(each[0], SAE, part=each[1]) for each in made}

    assert versions(["detection", "simulation"]) == versions(["detection", "simulation", further])
