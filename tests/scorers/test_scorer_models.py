"""A further model that scores: it is asked by its own keys, and its rows have a version of their own."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.asking.roles import check_endpoints, role_of, roles_of
from pipeline.asking.spending import check_prices
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.tables.versions import SourceHashes, Versions

SAE = "hand-set"
SCORERS = ["detection", "graded", "detection@worse", "graded@worse"]
WORSE = {"oracle": {"false_positive_rate": 0.35, "false_negative_rate": 0.35}}
SCORING = {"provider": "oracle", "scorers": SCORERS, "models": {"worse": WORSE}}

Make = Callable[..., Config]


def test_a_role_has_the_keys_of_its_model_over_those_of_the_section(make_experiment: Make) -> None:
    mini = {"provider": "openai", "model": "mini", "temperature": 0.5, "endpoint": {"base_url": "http://mini"}}
    config = make_experiment(
        scoring={"max_draws": 3, "scorers": ["detection@mini", "fuzzing"], "models": {"mini": mini}},
        endpoints={"scorer": {"base_url": "http://other"}},
    )
    assert roles_of(config) == ("explainer", "scorer@mini", "scorer")
    role, other = role_of(config, "scorer@mini"), role_of(config, "scorer")
    assert (role.model, role.temperature, role.max_draws, role.is_local) == ("mini", 0.5, 3, False)
    assert (role.endpoint.base_url, other.endpoint.base_url) == ("http://mini", "http://other")
    assert other.is_local and other.temperature == 0


def test_a_model_that_no_plug_in_asks_needs_no_key_and_no_price(make_experiment: Make) -> None:
    server = {"provider": "openai", "model": "unpriced"}
    explaining, endpoint = {**server, "explainers": ["rule", "keywords"]}, {"api_key_env": "NOT_SET"}
    endpoints, budget = {"explainer": endpoint, "scorer": endpoint}, {"max_usd": 1}

    def config_of(*scorers: str) -> Config:
        scoring = {**server, "scorers": [*scorers]}
        return make_experiment(explaining=explaining, scoring=scoring, endpoints=endpoints, budget=budget)

    config = config_of("embedding")
    assert roles_of(config) == ()
    check_endpoints(config)
    check_prices(config)
    with pytest.raises(ConfigError, match="NOT_SET"):
        check_endpoints(config_of("embedding", "detection"))
    with pytest.raises(ConfigError, match="unpriced"):
        check_prices(config_of("embedding", "detection"))


def test_what_a_scorer_is_scored_as_holds_for_each_model_that_it_asks(make_experiment: Make) -> None:
    scorers = ["detection", "detection@mini", "fuzzing", "graded@mini", "simulation"]
    scoring = make_experiment(scoring={"scorers": scorers, "models": {"mini": {}}}).scoring
    assert scoring.population_scorers == ("detection", "detection@mini")
    assert (scoring.grade_scorers, scoring.activation_scorers) == (("graded@mini",), ("simulation",))


@pytest.mark.parametrize("scorer, words", [("detection@mimi", "nearest: .mini"), ("detectoin@mini", "detection")])
def test_what_is_not_known_is_named_with_what_is(make_experiment: Make, scorer: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_experiment(scoring={"scorers": [scorer], "models": {"mini": {"model": "mini"}}})


def test_another_model_makes_no_other_models_rows_anew(make_experiment: Make) -> None:
    def versions(**scoring: Any) -> dict[str | None, str]:
        config = make_experiment(scoring={**SCORING, **scoring})
        parts = config.scoring.scorers
        return {part: Versions(config, SourceHashes()).of("predictions", SAE, part=part) for part in parts}

    both = versions()
    assert len({*both.values()}) == len(SCORERS)
    alone = versions(scorers=["detection"], models={})
    assert alone["detection"] == both["detection"]
    changed = versions(models={"worse": {"temperature": 1}})
    assert {part for part in both if changed[part] != both[part]} == {"detection@worse", "graded@worse"}
    placed = versions(models={"worse": {**WORSE, "endpoint": {"base_url": "http://elsewhere"}}})
    assert placed == both, "where a model is reached is in no version"
