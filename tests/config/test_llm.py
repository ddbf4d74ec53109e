"""`LATENTLAKE_LLM`, by which `make demo LLM=…` asks another model in this process."""

from pathlib import Path

import pytest

from pipeline.asking.roles import find_local_models, role_of
from pipeline.config import Config, load_config
from pipeline.errors import ConfigError
from pipeline.models import load
from pipeline.tables.versions import SourceHashes, Versions

DEMO = Path(__file__).parents[2] / "config" / "demo.yaml"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> tuple[Config, Config]:
    """The demo, and with another model."""
    monkeypatch.delenv("LATENTLAKE_LLM", raising=False)
    plain = load_config(DEMO)
    monkeypatch.setenv("LATENTLAKE_LLM", "qwen-coder-1.5b")
    return plain, load_config(DEMO)


def test_the_model_takes_both_roles_in_int8_and_the_subject_stays(demo):
    plain, other = demo
    for name in ("explainer", "scorer"):
        model = role_of(other, name).local_model
        assert (model.model, model.precision) == ("qwen-coder-1.5b", "int8")
        assert role_of(plain, name).local_model.precision is None
        assert role_of(other, name).model == "qwen-coder-1.5b (int8)", "no answers of it in floats are replayed"
        assert role_of(plain, name).model == plain.subject.model
    assert other.subject == plain.subject


def test_only_tables_that_the_model_makes_are_kept_apart(demo):
    def versions(config: Config, *tables: str) -> list[str]:
        return [Versions(config, SourceHashes()).of(table) for table in tables]

    plain, other = demo
    before = ("activations", "feature_routes", "selected_features", "examples")
    assert versions(plain, *before) == versions(other, *before)
    for table in ("explanations", "predictions", "scores", "summary"):
        assert versions(plain, table) != versions(other, table)
    floats = other.model_copy(update={"scoring": other.scoring.model_copy(update={"precision": None})})
    assert versions(floats, "explanations") == versions(other, "explanations")
    assert versions(floats, "predictions") != versions(other, "predictions")


def test_a_role_on_a_server_stays_there(demo):
    plain, _ = demo
    on_server = plain.explaining.model_copy(update={"provider": "openai", "model": "large"})
    mixed = plain.model_copy(update={"explaining": on_server}).with_llm("other")
    assert (mixed.explaining, mixed.scoring.model) == (on_server, "other")
    scoring = plain.scoring.model_copy(update={"provider": "openai"})
    with pytest.raises(ConfigError, match="LLM=other replaces models with provider `local`"):
        plain.model_copy(update={"explaining": on_server, "scoring": scoring}).with_llm("other")


def test_a_larger_models_threshold_comes_from_controls_unless_the_config_sets_one(demo):
    plain, other = demo
    assert (plain.scoring.threshold, other.scoring.threshold) == ("half", "controls")
    scoring = type(plain.scoring).model_validate(
        {**plain.scoring.model_dump(exclude_unset=True), "threshold": "half"}
    )
    assert plain.model_copy(update={"scoring": scoring}).with_llm("other").scoring.threshold == "half"


def test_models_are_fetched_before_a_run_unless_nothing_is_asked(demo, monkeypatch):
    fetched: list[str] = []
    monkeypatch.setattr(load, "find_files", lambda subject: fetched.append(subject.model))
    _, other = demo
    find_local_models(other)
    assert set(fetched) == {"qwen-coder-1.5b"}
    fetched.clear()
    find_local_models(other.model_copy(update={"budget": other.budget.model_copy(update={"max_requests": 0})}))
    assert fetched == []
