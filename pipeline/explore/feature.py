"""One feature: all that the lake knows of it."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from pipeline.asking.windows import Vocabulary
from pipeline.explore.catalog import Reader, Row

_STRONGEST = 12
_OF_A_DECILE = 3
_OF_A_KIND = 10
_PAGE_REQUESTS = 50
_OF_NO_WINDOW = "rule_exact"
"""The score that is of every test token, and of no answer about a window."""
_OF_A_WAY = 3
"""Texts that are shown of each way in which a feature is changed."""

Outcome = Literal["right", "wrong", "ranked", "graded", "simulated", "unanswered"]

KINDS = {
    "same_token": "Silent, though it holds a token that the feature fires on elsewhere",
    "neighbour": "Silent, where a neighbour of the feature fires",
    "random": "Silent, by draw",
}


class Piece(NamedTuple):
    """One or more tokens of a window that spell whole characters.

    `level` is 0 where the feature is silent, else 1 to 10, its activation as a share of the feature's largest.
    """

    text: str
    level: int
    activation: float
    is_peak: bool


WRITTEN = {True: "In which it should fire", False: "Near misses, in which it should be silent"}


class Answer(NamedTuple):
    """What a scorer said of a window.

    `value` is the probability of its answer where there is one; what it ranks by, where it only ranks; a grade; or
    the correlation of the activations that it predicts with those of the window, None where either are all alike.
    `request_id` is the request that asked; None where no model was asked.
    """

    scorer: str
    outcome: Outcome
    value: float | None
    status: str
    request_id: str | None


class Window(NamedTuple):
    """A window as it is shown."""

    pieces: Sequence[Piece]
    row: Row
    answers: Sequence[Answer]


class Windows(NamedTuple):
    """Some windows of one kind, and how many there are in all."""

    title: str
    shown: Sequence[Window]
    n: int


def feature_page(
    reader: Reader,
    vocabulary: Vocabulary,
    sae: str,
    feature: int,
    explanation_id: str = "",
    shows_all: bool = False,
) -> dict[str, Any] | None:
    """What a feature's template shows; None if the SAE has no such feature.

    Args:
        reader: Asks the lake.
        vocabulary: Of the subject model.
        sae: The SAE's name.
        feature: The feature's number.
        explanation_id: The explanation whose answers stand beside the windows; by default the first with any.
        shows_all: Every window, in place of some of each kind.
    """
    own = {"sae": sae, "feature": feature}
    reader.narrow(sae, feature)
    card = reader.row("feature_card", **own)
    if card is None:
        return None
    explanations = reader.rows("feature_explanations", **own)
    scored = [each for each in explanations if each["scores"]]
    judged = [each for each in scored if any(score["scorer"] != _OF_NO_WINDOW for score in each["scores"])]
    chosen = next((each for each in judged if each["explanation_id"] == explanation_id), next(iter(judged), None))
    drawn = reader.rows("shown_windows", **own)
    indexed = []
    if card["n_active"]:
        of_a_decile = 0 if drawn else 2 * _STRONGEST
        indexed = reader.rows("indexed_windows", **own, strongest=_STRONGEST, of_a_decile=of_a_decile)
    rows = drawn or indexed
    answers = _answers(reader, own, chosen, rows) if chosen else {}
    strongest = _as_drawn(indexed[:_STRONGEST], drawn)
    largest = max((row["peak"] or 0.0 for row in (*strongest, *rows)), default=0.0)

    def show(row: Row) -> Window:
        return shade(row, vocabulary, largest, answers.get(row["example_id"], ()))

    chosen_ones = [each for each in explanations if each["is_chosen"]]
    scorers = sorted({score["scorer"] for each in scored for score in each["scores"]})
    controls: dict[str, list[Row]] = {}
    for row in reader.rows("control_scores", sae=sae):
        controls.setdefault(row["scorer"], []).append(row)
    return {
        "card": card,
        "best": next((each for each in chosen_ones if each["explanation"] and not each["is_control"]), None),
        "explanations": chosen_ones,
        "drafts": [each for each in explanations if not each["is_chosen"]],
        "scorers": scorers,
        "controls": controls,
        "judged": judged,
        "chosen": chosen,
        "answered": sorted({answer.scorer for some in answers.values() for answer in some}),
        "groups": [
            Windows(title, [show(row) for row in some], n)
            for title, some, n in _groups(strongest, rows, shows_all)
        ],
        "written": _written(reader, own, chosen, vocabulary, largest) if chosen else [],
        "changed": reader.rows("changed_texts", **own, of_a_way=_OF_A_WAY),
        "shows_all": shows_all,
        "histogram": reader.rows("activation_histogram", **own),
        "positions": reader.rows("position_profile", **own),
        "neighbours": reader.rows("near_features", **own),
        "cofirings": reader.rows("cofiring_features", **own),
        "scrambled": reader.rows("scrambled_tokens", **own),
        "rules": reader.rows("rules_of_feature", **own),
    }


def _as_drawn(indexed: Sequence[Row], drawn: Sequence[Row]) -> list[Row]:
    """Windows of the index; of those that were drawn as examples, the examples, which scorers have judged."""
    examples = {(row["context_id"], row["start"]): row for row in drawn}
    return [
        examples.get((row["context_id"], row["start"]), row) | {"n_of_kind": row["n_of_kind"]} for row in indexed
    ]


def requests_page(
    reader: Reader, sae: str, feature: int, *, request_id: str | None = None, page: int = 1
) -> dict[str, Any]:
    """What was asked of language models about a feature: a page of its requests, or one of them."""
    rows = reader.rows(
        "feature_requests", sae=sae, feature=feature, request_id=request_id,
        page_rows=_PAGE_REQUESTS, first_row=0 if request_id else (page - 1) * _PAGE_REQUESTS,
    )  # fmt: skip
    n_requests = rows[0]["n_requests"] if rows else 0
    return {
        "rows": rows, "is_one": bool(request_id), "page": page, "n_pages": -(-n_requests // _PAGE_REQUESTS),
    }


def _written(
    reader: Reader, own: dict[str, Any], chosen: Row, vocabulary: Vocabulary, largest: float
) -> list[Windows]:
    """The texts that a scorer had written by an explanation: those in which the feature should fire come first."""
    rows = reader.rows("generated_texts", **own, explanation_id=chosen["explanation_id"])
    largest = max([largest, *(row["peak"] or 0.0 for row in rows)])
    groups = []
    for label, title in WRITTEN.items():
        if some := [shade(row, vocabulary, largest) for row in rows if row["label"] == label]:
            groups.append(Windows(title, some, len(some)))
    return groups


def _answers(
    reader: Reader, own: dict[str, Any], chosen: Row, windows: Sequence[Row]
) -> dict[str, list[Answer]]:
    """What was said of each window, by example_id."""
    activations = {row["example_id"]: row["activations"] for row in windows}
    found: dict[str, list[Answer]] = {}
    for row in reader.rows("feature_answers", **own, explanation_id=chosen["explanation_id"]):
        outcome, value = _outcome(row, activations.get(row["example_id"], []))
        answer = Answer(row["scorer"], outcome, value, row["status"], row["request_id"])
        found.setdefault(row["example_id"], []).append(answer)
    return found


def _outcome(row: Row, activations: Sequence[float]) -> tuple[Outcome, float | None]:
    """How an answer turned out, and the value that is shown with it (`Answer`)."""
    if row["prediction"] is not None:
        return "right" if row["prediction"] == row["label"] else "wrong", row["probability"]
    if row["status"] != "ok":
        return "unanswered", None
    if row["probability"] is not None:
        return "ranked", row["probability"]
    match row["values"]:
        case None:
            return "unanswered", None
        case [grade]:
            return "graded", grade
        case values if len(values) == len(activations) and len(set(values)) > 1 and len(set(activations)) > 1:
            return "simulated", statistics.correlation(values, activations)
    return "simulated", None


def shade(row: Row, vocabulary: Vocabulary, largest: float, answers: Sequence[Answer] = ()) -> Window:
    """A window with its tokens shaded by activation, `largest` the darkest."""
    pieces = []
    for spelled, places in vocabulary.characters(row["token_ids"]):
        activation = max(row["activations"][place] for place in places)
        level = max(1, min(10, round(10 * activation / largest))) if activation > 0 else 0
        is_peak = activation > 0 and activation == row["peak"]
        pieces.append(Piece(spelled.decode("utf-8", "backslashreplace"), level, activation, is_peak))
    return Window(pieces, row, answers)


def _groups(
    strongest: Sequence[Row], rows: Sequence[Row], shows_all: bool
) -> Iterator[tuple[str, Sequence[Row], int]]:
    """The strongest windows, some of each decile, then silent ones of each kind: title, rows, number of all."""
    if strongest:
        yield "Strongest", strongest, strongest[0]["n_of_kind"]
    shown = {(row["context_id"], row["start"]) for row in strongest}
    later = [
        row for row in rows if row["kind"] == "activating" and (row["context_id"], row["start"]) not in shown
    ]
    for decile in range(10, 0, -1):
        if own := _test_first(row for row in later if row["decile"] == decile):
            yield f"Decile {decile}", own if shows_all else own[:_OF_A_DECILE], own[0]["n_alike"]
    for kind, title in KINDS.items():
        if own := _test_first(row for row in rows if row["kind"] == kind):
            yield title, own if shows_all else own[:_OF_A_KIND], own[0]["n_alike"]


def _test_first(rows: Iterable[Row]) -> list[Row]:
    """Windows of test documents first, as scorers judge no others."""
    return sorted(rows, key=lambda row: str(row["role"]) == "train")
