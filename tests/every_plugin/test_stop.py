"""The "stop" test of every scorer: what is true, too broad, too narrow or random scores as it should.

A planted feature fires on " stop" after two words only; its silent windows hold " stop" elsewhere, or not at all.
The oracle knows no more than the explanations say.
"""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tiny import STOP, rows_of
from transformers import AutoTokenizer

from pipeline.firings.texts import Activations, ReadTexts
from pipeline.lake import Lake
from pipeline.make_table import make_table
from pipeline.plugins import find_plugins
from pipeline.scorers import write
from pipeline.scorers.write import load_scorer, write_predictions
from pipeline.scorers.yes_no import YesNo
from pipeline.tables import TABLES
from pipeline.tables.explanations import explanation_id

pytestmark = pytest.mark.whole

SAE = "hand-set"
STOP_PLACE = 8
EXPLANATIONS = {
    "true": 'the token " stop" after " don\'t" or " won\'t"',
    "too broad": 'the token " stop"',
    "too narrow": 'the token " stop" after " don\'t"',
    "random": 'the token " the"',
}
SCORERS = sorted(name for name in find_plugins("scorers") if isinstance(load_scorer(name), YesNo))
"""Those that answer yes or no, which a language model does."""
VALUES = ("graded", "simulation")
TEXTS = "generation"


@pytest.fixture(scope="module")
def rates(copied_lake: Any, tiny_subject: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Figures by (explanation, scorer)."""
    truthful = {"false_positive_rate": 0.0, "false_negative_rate": 0.0}
    lake: Lake = copied_lake()(scoring={"scorers": [*SCORERS, *VALUES, TEXTS], "oracle": truthful})
    rows = pa.Table.from_pylist(list(planted_windows(tiny_subject)), TABLES["examples"].schema)
    for part in lake.parts("examples"):  # all planted windows are of all scorers
        lake.write("examples", rows if part is None else rows.slice(0, 0), sae=SAE, batch=0, part=part)
    make_table(lake, "fuzzing_pairs", sae=SAE, batch=0)
    ids = {explanation_id(SAE, STOP, "default", n): name for n, name in enumerate(EXPLANATIONS)}
    explained = [
        {
            **{"explanation_id": key, "sae": SAE, "feature": STOP, "explainer": "default", "draw": draw},
            **{"explanation": EXPLANATIONS[name], "example_ids": [], "status": "ok", "request_id": None},
            "is_chosen": True,
        }
        for draw, (key, name) in enumerate(ids.items())
    ]
    rows = pa.Table.from_pylist(explained, TABLES["explanations"].schema)
    lake.write_parts("explanations", rows, sae=SAE, batch=0)
    with pytest.MonkeyPatch.context() as patch:
        # Texts that are written are read by the planted feature.
        patch.setattr(write, "predictions_table", partial(write.predictions_table, read=reader(tiny_subject)))
        write_predictions(lake, SAE, 0)
    make_table(lake, "scores", sae=SAE, batch=0)
    return {
        (ids[row["explanation_id"]], row["scorer"]): {
            **row,
            "specificity": 2 * row["balanced_accuracy"] - row["recall"] if row["recall"] is not None else None,
        }
        for row in rows_of(lake, "from scores where scorer <> 'rule_exact'")
    }


def reader(subject: Path) -> ReadTexts:
    """What the planted feature is on texts: 4 on " stop" after one of the two words."""
    tokenizer = AutoTokenizer.from_pretrained(subject)
    [stop], *befores = (
        tokenizer(each, add_special_tokens=False).input_ids for each in (" stop", " don't", " won't")
    )

    def fires(ids: Sequence[int], place: int) -> bool:
        return ids[place] == stop and any(list(ids[place - len(each) : place]) == each for each in befores)

    def read(lake: Lake, sae: str, texts: Sequence[Sequence[int]], features: Collection[int]) -> Activations:
        assert set(features) == {STOP}
        return {
            STOP: [np.array([4 * fires(ids, place) for place in range(len(ids))], np.float32) for ids in texts]
        }

    return read


def planted_windows(subject: Path) -> Iterator[dict[str, Any]]:
    """Test windows of 32 tokens: twenty that fire, twenty with a silent " stop", twenty without any."""
    tokenizer = AutoTokenizer.from_pretrained(subject)

    def tokens(words: str) -> list[int]:
        return tokenizer(words, add_special_tokens=False).input_ids

    def window(before: str, word: str, after: str, number: int) -> list[int]:
        filler = tokens(" of the to in" if number % 2 else " of a to in")
        lead = tokens(before)
        ids = (filler * 8)[: STOP_PLACE - len(lead)] + lead + tokens(word) + tokens(after)
        assert ids.index(tokens(" stop")[0]) == STOP_PLACE if word == " stop" else True
        return (ids + filler * 8)[:32]

    for number in range(20):
        said = " don't" if number % 4 < 2 else " won't"
        other = (" will", " can", " had", " do")[number % 4]
        kinds = {
            "activating": window(said, " stop", "", number),
            "same_token": window(other, " stop", "", number),
            "random": window(other, " were", said if number % 2 else "", number // 2),
        }
        for kind, ids in kinds.items():
            fires = kind == "activating"
            draw = number + 1 if fires else 2 * number + 1 + (kind == "random")
            yield {
                **{"example_id": f"{kind}{number:02d}", "sae": SAE, "feature": STOP, "context_id": 0, "start": 1},
                **{"peak": 4.0 if fires else None, "role": "test", "kind": kind, "draw": draw, "n_slots": 100},
                **{"decile": number % 10 + 1 if fires else None, "rank": number + 1 if fires else None},
                **({} if fires else {"neighbour": 1, "neighbour_rank": 1, "cosine": 0.5}),
                **{"doc_id": f"{kind} {number}", "token_ids": ids},
                "activations": [4.0 * (fires and place == STOP_PLACE) for place in range(32)],
            }


@pytest.mark.parametrize("name", SCORERS)
def test_the_stop_test(rates: dict[tuple[str, str], dict[str, float]], name: str) -> None:
    right = rates["true", name]
    assert (right["recall"], right["specificity"], right["precision"]) == (1.0, 1.0, 1.0)
    broad = rates["too broad", name]
    assert broad["recall"] == 1.0
    assert 0.3 <= broad["specificity"] <= 0.7 and broad["precision"] < 0.8
    narrow = rates["too narrow", name]
    assert (narrow["precision"], narrow["specificity"]) == (1.0, 1.0)
    assert 0.3 <= narrow["recall"] <= 0.7
    chance = rates["random", name]
    assert chance["ci_low"] <= 0.5 <= chance["ci_high"] and abs(chance["balanced_accuracy"] - 0.5) <= 0.1
    assert broad["ci_high"] < right["balanced_accuracy"] and narrow["ci_high"] < right["balanced_accuracy"]


def test_the_stop_test_of_predicted_activations(rates: dict[tuple[str, str], dict[str, float]]) -> None:
    right, broad, narrow, chance = (rates[each, "simulation"]["correlation"] for each in EXPLANATIONS)
    assert right == pytest.approx(1.0) and rates["true", "simulation"]["correlation_low"] > 0.2
    assert 0.4 <= broad <= 0.95 and 0.4 <= narrow <= 0.95
    assert abs(chance) <= 0.1


def test_the_stop_test_of_texts(rates: dict[tuple[str, str], dict[str, float]]) -> None:
    right, broad, narrow, chance = (rates[each, TEXTS] for each in EXPLANATIONS)
    assert (right["balanced_accuracy"], right["auroc"]) == (1.0, 1.0) and right["ci_low"] > 0.5
    # By what is too broad, texts are written in which it does not fire. By what is too narrow, it fires in each,
    # and no text shows that it also fires elsewhere.
    assert (broad["recall"], broad["balanced_accuracy"]) == (0.0, 0.5) and broad["ci_high"] < 1
    assert narrow["balanced_accuracy"] == 1.0
    assert (chance["recall"], chance["balanced_accuracy"]) == (0.0, 0.5)


def test_the_stop_test_of_grades(rates: dict[tuple[str, str], dict[str, float]]) -> None:
    assert (rates["true", "graded"]["auroc"], rates["true", "graded"]["average_precision"]) == (1.0, 1.0)
    # Of 20 windows that fire and 10 of either silent kind, by hand: what is too broad loses responsiveness, since
    # silent windows are of grade 2 as well; what is too narrow loses both, since half of what fires is of grade 0.
    broad, narrow = rates["too broad", "graded"], rates["too narrow", "graded"]
    assert broad["auroc"] == pytest.approx((20 + 10 / 2) / 30)
    assert broad["average_precision"] == pytest.approx(20 / 30 + 10 / 30 * 30 / 40)
    assert narrow["auroc"] == pytest.approx((10 / 2 + 20) / 30)
    assert narrow["average_precision"] == pytest.approx(0.5)
    assert rates["random", "graded"]["auroc"] is None or abs(rates["random", "graded"]["auroc"] - 0.5) <= 0.3
