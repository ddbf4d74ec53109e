"""Each scorer that is found meets the oracle in one of the modules beside this one."""

from test_causal_scorers import WRITTEN
from test_every_scorer import ASKING, CHOOSING, RANKING
from test_valuing_scorers import WAYS

from pipeline.plugins import find_plugins


def test_every_scorer_is_run_against_the_oracle_in_one_of_its_ways() -> None:
    run = [*ASKING, *RANKING, *CHOOSING, *WRITTEN, *{name for name, _ in WAYS}]
    assert sorted(run) == sorted(find_plugins("scorers"))
