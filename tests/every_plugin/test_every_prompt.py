"""Every prompt that a plug-in can send, word for word.

After a change of a prompt that is meant, write the snapshots anew and read their diff:

    PYTHONPATH=.:tests .venv/bin/python tests/every_plugin/test_every_prompt.py
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sample_prompts import QUESTIONS, SHOWN, VOCABULARY, WORDS, score

from pipeline.asking.prompts import load_prompt
from pipeline.asking.roles import role_of
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.windows import one_line
from pipeline.config import Config, ScoringConfig
from pipeline.explainers.base import Feature, Shown
from pipeline.explainers.write import load_explainer
from pipeline.llm import Answer, Request
from pipeline.plugins import find_plugin, find_plugins
from pipeline.scorers.generation import writing_request
from pipeline.scorers.intervention import choice_request
from pipeline.scorers.intruder import choice_request as odd_request

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


def explain(name: str, **explaining: Any) -> list[Request]:
    """What an explainer asks about a feature; every answer is its own stand-in."""
    asked: list[Request] = []

    def ask(to_ask: Any) -> dict[str, Answer]:
        asked.extend(each.request for each in to_ask)
        return {each.request.request_id: Answer(each.request.request_id, "ok", each.stand_in) for each in to_ask}

    config = config_of(explaining={"explainers": [name], **explaining})
    tools = Tools(Batch(SimpleNamespace(config=config), None, "layers.1", 0), role_of(config, "explainer"), ask)  # type: ignore[arg-type]
    tools.__dict__["vocabulary"] = VOCABULARY
    assert list(load_explainer(name).explain(FEATURES, tools)) and asked
    return asked


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
    shown = [{"token_ids": each.token_ids, "marked": each.marked} for each in QUESTIONS]
    yield "intruder", [odd_request(ScoringConfig(), "layers.1", {"feature": 7, "windows": shown}, VOCABULARY)]
    yield "detection_empty", [score("detection", QUESTIONS[:1], words="")]
    scoring = config_of().scoring
    yield "generation", [writing_request(scoring, "layers.1", 7, WORDS)]
    yield "intervention", [choice_request(scoring, "layers.1", 7, WORDS, SETS)]


def as_text(requests: list[Request]) -> str:
    """The messages of some requests, one after another."""
    return "\n".join(
        f"--- {message.role}\n{message.content}" for request in requests for message in request.messages
    ) + "\n"


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
            assert [message.role for message in request.messages] == ["system", "user"], name
            assert "stop" not in request.messages[0].content, name


if __name__ == "__main__":
    for name, text in RENDERED.items():
        (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")
