"""What every explainer has to do, whatever a model answers: statuses are right, and no test window is shown."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny import ANIMAL, rows_of

from pipeline.asking.batches import ToAsk
from pipeline.asking.oracle_answers import answer_by_plugin
from pipeline.asking.tools import Batch
from pipeline.asking.truth import read_truth
from pipeline.asking.windows import load_vocabulary
from pipeline.explainers.write import explanations_table
from pipeline.lake import Lake
from pipeline.llm import Answer, Request
from pipeline.llm.oracle.brain import Oracle
from pipeline.llm.oracle.client import GARBLED
from pipeline.llm.oracle.prompts import plain, read_question, shown_texts
from pipeline.plugins import find_plugins
from pipeline.tables.inputs import inputs_of

pytestmark = pytest.mark.whole

SAE = "hand-set"
Answering = Callable[[Request], Answer]


class Model:
    """A scripted model; `asked` are the requests that it was asked."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self.asked: list[ToAsk] = []

    def ask(self, to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
        """An answer each."""
        self.asked.extend(to_ask)
        return {each.request.request_id: self._answering(each.request) for each in to_ask}


def saying(text: str | None, status: Any = "ok") -> Answering:
    """A model that says the same to everything."""
    return lambda request: Answer(request.request_id, status, text)


def echo(request: Request) -> Answer:
    """An answer that repeats the instructions."""
    line = max(request.messages[0].content.splitlines(), key=len)
    return Answer(request.request_id, "ok", f"[EXPLANATION]: {line}")


def differing(request: Request) -> Answer:
    """Another explanation to each request; as a judge yes or no by chance, so that drafts differ and miss some."""
    asked, number = read_question(request.messages[-1].content), int(request.request_id[:8], 16)
    if asked is None:
        return Answer(request.request_id, "ok", f"[EXPLANATION]: names of animals, number {number}")
    said = [(number + place) % 3 == 0 for place, _ in enumerate(asked.texts)]
    return Answer(request.request_id, "ok", asked.answer(said))


def explain(lake: Lake, name: str, answering: Answering) -> tuple[list[dict[str, Any]], Model]:
    """The explainer's rows, controls left out, and the model that it asked."""
    model = Model(answering)
    with lake.connect(SAE, 0, tables=inputs_of(lake.config, "explanations")) as connection:
        asks = {"explainer": model.ask, "scorer": model.ask}
        rows = explanations_table(Batch(lake, connection, SAE, 0), asks).to_pylist()
    return [row for row in rows if row["explainer"] == name], model


@pytest.fixture(params=sorted(find_plugins("explainers")))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def lake(lake_of: Any, name: str, tmp_path: Path) -> Lake:
    given = {}
    if name == "imported":  # whose words are of a file
        path = tmp_path / "words.csv"
        path.write_text("sae,feature,explanation\n" + "".join(f"{SAE},{feature},words\n" for feature in range(8)))
        given = {"imported": {"path": str(path)}}
    return lake_of(explaining={"explainers": [name], **given})


def test_what_is_answered_is_an_explanation_of_train_windows(lake: Lake, name: str) -> None:
    oracle = Oracle(read_truth(lake, SAE, 0))

    def answering(request: Request) -> Answer:
        said = answer_by_plugin(request, oracle) or oracle.answer(request.messages[-1].content)
        return Answer(request.request_id, "ok", said)

    rows, model = explain(lake, name, answering)
    assert rows and all(row["status"] == "ok" and row["explanation"] for row in rows)
    asked = {each.request.request_id: each.request for each in model.asked}
    roles = {row["example_id"]: row["role"] for row in rows_of(lake, "select example_id, role from examples")}
    for row in rows:
        assert {roles[example_id] for example_id in row["example_ids"]} <= {"train"}
        assert row["request_id"] or not row["example_ids"]
        if row["request_id"]:
            assert asked[row["request_id"]].feature == row["feature"]
            assert f"feature {row['feature']}" in row["explanation"]
    assert len({row["explanation_id"] for row in rows}) == len(rows)


def test_no_request_holds_anything_of_a_test_window(lake: Lake, name: str) -> None:
    rows, model = explain(lake, name, differing)
    purposes = {each.request.purpose for each in model.asked}
    assert (f"{name}_judging" in purposes) == bool(lake.config.explaining.n_judging)
    improving = [each for each in model.asked if "Explanation so far" in each.request.messages[-1].content]
    assert bool(improving) == (name == "refinement")
    assert len({row["explanation"] for row in rows if row["feature"] == ANIMAL}) >= (2 if improving else 1)
    vocabulary = load_vocabulary(lake)
    examples = rows_of(lake, "from examples")
    windows = {
        role: [plain(vocabulary.render(row["token_ids"])) for row in examples if row["role"] == role]
        for role in ("train", "test")
    }
    messages = [message.content for each in model.asked for message in each.request.messages]
    sent = [*map(plain, messages), *(text for each in messages for text in shown_texts(each))]
    assert len(windows["test"]) > 100
    assert not [text for text in windows["test"] for content in sent if text in content]
    shows_windows = any(row["example_ids"] for row in rows)
    assert shows_windows == any(text in content for text in windows["train"] for content in sent)


@pytest.mark.parametrize("answering, status", [
    (saying(None, "refused"), "refused"),
    (saying(GARBLED), "unparsed"),
    (saying(""), "unparsed"),
    (saying("[EXPLANATION]: animals", "truncated"), "truncated"),
    (saying(None, "http_error"), "http_error"),
    (saying(None, "budget"), "budget"),
    (echo, "echoed"),
])  # fmt: skip
def test_what_is_no_explanation_is_a_status(lake: Lake, name: str, answering: Answering, status: str) -> None:
    rows, model = explain(lake, name, answering)
    assert rows
    for row in rows:
        expected = (None, status) if row["request_id"] else (row["explanation"], "ok")
        assert (row["explanation"], row["status"]) == expected
    assert bool(model.asked) == any(row["request_id"] for row in rows)
    for each in model.asked:
        assert not each.is_usable(answering(each.request)) or status not in {"unparsed", "echoed"}


def test_a_stand_in_is_an_answer_that_can_be_used(lake: Lake, name: str) -> None:
    _, model = explain(lake, name, saying("[EXPLANATION]: names of animals"))
    for each in model.asked:
        assert each.is_usable(Answer(each.request.request_id, "ok", each.stand_in))


def test_explainers_side_by_side_are_each_shown_their_own_windows(lake_of: Any) -> None:
    own = {
        "default": {"sampling": "top", "n_examples": 5},
        "chain_of_thought": {"sampling": "random", "n_examples": 7},
        "contrastive": {"n_silent": 3},
    }
    lake = lake_of(explaining={"explainers": [*own, "rule"], "n_examples": 6, **own})
    said = saying("[EXPLANATION]: names of animals")
    windows = {row["example_id"]: row for row in rows_of(lake, "from examples")}
    for name in own:
        rows, model = explain(lake, name, said)
        assert {each.request.purpose for each in model.asked} == {"explain", "chain_of_thought", "contrastive"}
        for row in rows:
            shown = [windows[example_id] for example_id in row["example_ids"]]
            active = [each["places"] for each in shown if each["kind"] == "activating"]
            sampling, n = own[name].get("sampling", "deciles"), own[name].get("n_examples", 6)
            assert sorted(places[sampling] for places in active) == list(range(1, n + 1))
            assert len(shown) - n == own[name].get("n_silent", 0)
