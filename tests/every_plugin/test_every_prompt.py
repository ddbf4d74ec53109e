"""Every prompt that a plug-in can send, word for word.

After a change of a prompt that is meant, write the snapshots anew and read their diff:

    PYTHONPATH=.:tests .venv/bin/python tests/every_plugin/test_every_prompt.py
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from sample_prompts import QUESTIONS, SHOWN, VOCABULARY, WORDS, score

from pipeline.asking.prompts import load_prompt
from pipeline.asking.roles import role_of
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.windows import one_line
from pipeline.config import Config, ScoringConfig
from pipeline.explainers.base import Feature, Shown
from pipeline.explainers.write import load_explainer
from pipeline.llm import Answer, Message, Request
from pipeline.plugins import find_plugin, find_plugins
from pipeline.scorers.generation import writing_request
from pipeline.scorers.intervention import choice_request
from pipeline.scorers.intruder import choice_request as odd_request
from pipeline.scorers.write import load_scorer

FOLDER = Path(__file__).parent / "prompts"
SHARED = [Path(__file__).parents[2] / "pipeline" / place for place in ("scorers/yes_no", "explainers/notes")]
SILENT = [Shown("x4", [9, 3, 4, 9], [0, 0, 0, 0]), Shown("x5", [5, 6, 0], [0, 0, 0])]
FEATURES = [Feature(7, "llm", None, True, SHOWN, SILENT, promoted=[3, 4, 9], suppressed=[0, 6])]
SETS = [
    [
        {"unsteered": f" on, {number}\nchanged: <<this>>", "continuation": f" {{text}} {number}\n\nSet 3"}
        for number in (set_number, set_number + 1)
    ]
    for set_number in (1, 3, 5)
]
"""Continuations that would look like other sets, were their line ends left in."""
ONE, MANY = "one.txt", "many.txt"
WINDOWS = [{"example_id": each.example_id, "token_ids": list(each.token_ids), "strata": ["top"]} for each in SHOWN]


def config_of(**sections: Any) -> Config:
    """The config of an experiment that is never run."""
    return Config.model_validate(
        {
            "name": "tiny",
            "subject": {"model": "none"},
            "saes": [{"name": "layers.1", "source": "none", "hookpoint": "layers.1", "n_features": 8}],
            "corpus": {"sources": [{"kind": "python"}]},
            **sections,
        }
    )


class Judging(Batch):
    """A batch without tables, whose windows that judge drafts are those above."""

    def create(self, name: str, **given: Any) -> None:
        """Nothing: what is read is given."""

    def put(self, name: str, rows: pa.Table) -> None:
        """Keep the drafts."""
        self.__dict__["drafts"] = rows.to_pylist()

    def select(self, name: str | Path, **given: Any) -> Any:
        """Two questions about each draft of each answer, a prompt each; there are windows enough to judge."""
        if name == "judging_windows":
            return SimpleNamespace(fetchall=lambda: [(each.feature, 100) for each in FEATURES])
        windows = [(True, SHOWN[0], 2), (True, SHOWN[1], 1), (False, SILENT[0], 2), (False, SILENT[1], 1)]
        rows = [
            {
                **draft,
                **{"prompt": place, "question_id": f"{place}", "marked": None, "label": fires, "draw": draw},
                **window._asdict(),
            }
            for draft in self.__dict__["drafts"]
            for place, (fires, window, draw) in enumerate(windows)
        ]
        return SimpleNamespace(pl=lambda: pl.DataFrame(rows, strict=False))


def explain(name: str, **explaining: Any) -> list[Request]:
    """What an explainer asks about a feature; every answer is its own stand-in."""
    asked: list[Request] = []

    def ask(to_ask: Any) -> dict[str, Answer]:
        asked.extend(each.request for each in to_ask)
        return {each.request.request_id: Answer(each.request.request_id, "ok", each.stand_in) for each in to_ask}

    config = config_of(explaining={"explainers": [name], **explaining})
    tools = tools_of(config, "explainer", ask)
    assert list(load_explainer(name).explain(FEATURES, tools)) and asked
    return asked


def tools_of(config: Config, role: Any, ask: Any) -> Tools:
    """What a plug-in is given, without a lake."""
    batch = Judging(SimpleNamespace(config=config), None, "layers.1", 0)  # type: ignore[arg-type]
    batch.__dict__["vocabulary"] = VOCABULARY
    return Tools(batch, role_of(config, role), ask, asks={"scorer": ask})


def value(name: str, **settings: Any) -> list[Request]:
    """What a scorer that gives values asks about three windows; every answer is its own stand-in."""
    asked: list[Request] = []

    def ask(to_ask: Any) -> dict[str, Answer]:
        asked.extend(each.request for each in to_ask)
        return {each.request.request_id: Answer(each.request.request_id, "ok", each.stand_in) for each in to_ask}

    config = config_of(scoring={"provider": "openai", "model": "m", "scorers": [name], name: settings})
    rows = [
        {"explanation_id": "e", "feature": 7, "question_id": f"q{number}", "explanation": WORDS, **window}
        for number, window in enumerate(WINDOWS)
    ]
    questions = duckdb.connect().from_arrow(pa.Table.from_pylist(rows))
    assert list(load_scorer(name).predict(questions, tools_of(config, "scorer", ask))) and asked
    return asked[-1:]


def surprisal() -> Request:
    """What stands before the windows whose losses are read: it is sent to nobody."""
    folder = find_plugin("scorers", "surprisal").path
    nothing, prefix = load_prompt(folder / "nothing.txt").text, load_prompt(folder / "prefix.txt")
    messages = tuple(Message("user", prefix.render(explanation=words)) for words in (WORDS, nothing))
    return Request("surprisal", "layers.1", 7, "none", messages, 1)


def rendered() -> Iterator[tuple[str, list[Request]]]:
    """What plug-ins ask, by the name of its snapshot: that of the plug-in, and the way in which it asks."""
    for name in find_plugins("explainers"):
        if load_explainer(name).role is not None:
            yield name, explain(name)
            if "show_logits" in find_plugin("explainers", name).settings.model_fields:
                yield f"{name}_all", explain(name, **{name: {"show_activations": True, "show_logits": True}})
            elif (with_activations := explain(name, show_activations=True)) != explain(name):
                yield f"{name}_activations", with_activations
    for name, plugin in find_plugins("scorers").items():
        if (plugin.path / ONE).is_file():
            yield f"{name}_one", [score(name, QUESTIONS[:1])]
        if (plugin.path / MANY).is_file():
            yield f"{name}_many", [score(name, QUESTIONS, per_prompt=5)]
    yield "simulation_blanks", value("simulation", method="all_at_once")
    yield "simulation_structured", value("simulation", method="structured")
    yield "graded", value("graded")
    yield "surprisal", [surprisal()]
    shown = [{"token_ids": each.token_ids, "marked": each.marked} for each in QUESTIONS]
    yield "intruder", [odd_request(ScoringConfig(), "layers.1", {"feature": 7, "windows": shown}, VOCABULARY)]
    yield "detection_empty", [score("detection", QUESTIONS[:1], words="")]
    scoring = config_of().scoring
    yield "generation", [writing_request(scoring, "layers.1", 7, WORDS)]
    yield "intervention", [choice_request(scoring, "layers.1", 7, WORDS, SETS)]


def as_text(requests: list[Request]) -> str:
    """The messages of some requests, one after another."""
    return (
        "\n".join(f"--- {message.role}\n{message.content}" for request in requests for message in request.messages)
        + "\n"
    )


RENDERED = {name: as_text(requests) for name, requests in rendered()}
PREFIX = find_plugin("scorers", "intervention_surprisal").path / "prefix.txt"
RENDERED["intervention_surprisal"] = load_prompt(PREFIX).render(text=one_line("a {text}\nand more")) + "\n"


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_prompt_is_word_for_word_as_before(name: str) -> None:
    assert RENDERED[name] == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def test_every_snapshot_is_of_a_prompt() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == RENDERED.keys()


def test_every_prompt_file_of_a_plug_in_is_in_a_snapshot() -> None:
    plugins = [plugin for kind in ("explainers", "scorers") for plugin in find_plugins(kind).values()]
    files = [path for folder in (*SHARED, *(each.path for each in plugins)) for path in folder.glob("*.txt")]
    everything = "\n".join(RENDERED.values())
    assert len(files) >= 8
    for path in files:
        for text in load_prompt(path).own_texts:
            assert text in everything, path


def test_a_prompt_begins_alike_for_all_features_and_explanations() -> None:
    """So that the caches of providers and servers hold it."""
    for name, requests in rendered():
        for request in requests:
            if name != "surprisal":
                assert [message.role for message in request.messages][:2] == ["system", "user"], name
                assert "stop" not in request.messages[0].content, name


ASKING = sorted(name for name in find_plugins("explainers") if load_explainer(name).role is not None)


@pytest.mark.parametrize("name", ASKING)
def test_a_model_that_thinks_is_given_room_in_every_round(name: str) -> None:
    requests = [each for each in explain(name, reasoning_tokens=500, reasoning_effort="low") if not each.choices]
    assert requests
    for request in requests:
        assert (request.reasoning_tokens, request.reasoning_effort, request.sent_stop) == (500, "low", ())


if __name__ == "__main__":
    for name, text in RENDERED.items():
        (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")
