"""One feature: everything the lake knows about it."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from pipeline.asking.windows import Vocabulary
from pipeline.explore.catalog import Reader, Row

_STRONGEST = 12
_OF_A_DECILE = 3
_OF_A_KIND = 10
"""Windows shown: the strongest ones, those of each decile, and silent ones of each kind."""
_PAGE_REQUESTS = 50
_OF_NO_WINDOW = "rule_exact"
"""The score that counts every test token and has no answers about windows."""
_OF_A_WAY = 3
"""Texts shown for each way of changing a feature."""

_PLAIN_QUERIES = {
    "histogram": "activation_histogram",
    "positions": "position_profile",
    "neighbours": "near_features",
    "cofirings": "cofiring_features",
    "scrambled": "scrambled_tokens",
    "rules": "rules_of_feature",
}
"""What the template shows as it is queried: the SQL file by the template's name."""

Outcome = Literal["right", "wrong", "ranked", "graded", "simulated", "unanswered"]

KINDS = {
    "same_token": "Silent, with a token that the feature fires on elsewhere",
    "neighbour": "Silent, where a neighbour of the feature fires",
    "random": "Silent, at random",
}


class Piece(NamedTuple):
    """One or more tokens of a window that spell whole characters.

    `level` is 0 where the feature is silent, else 1 to 10, its activation as a share of the feature's largest.
    """

    text: str
    level: int
    activation: float
    is_peak: bool


_WRITTEN = {True: "It should fire", False: "Near misses: it should be silent"}


class Answer(NamedTuple):
    """A scorer's answer about a window.

    `value` is the probability of its answer, if there is one; the value it ranks windows by, if it only ranks; a
    grade; or the correlation of the activations it predicts with those of the window, None if either are constant.
    `request_id` is None if no model was asked.
    """

    scorer: str
    outcome: Outcome
    value: float | None
    status: str
    request_id: str | None


class Window(NamedTuple):
    """A window as the page shows it."""

    pieces: Sequence[Piece]
    row: Row
    answers: Sequence[Answer]


class Windows(NamedTuple):
    """The windows of one kind that are shown, and how many there are in all."""

    title: str
    shown: Sequence[Window]
    n: int


def feature_page(
    reader: Reader,
    vocabulary: Vocabulary,
    sae: str,
    feature: int,
    explanation_id: str = "",
    *,
    shows_all: bool = False,
) -> dict[str, Any] | None:
    """What a feature's template shows; None if the SAE has no such feature.

    Args:
        reader: Queries the lake.
        vocabulary: Of the subject model.
        sae: The SAE's name.
        feature: The feature's index.
        explanation_id: The explanation whose answers are shown beside the windows; by default the first that has
            any.
        shows_all: Whether to show every window, instead of some of each kind.
    """
    own = {"sae": sae, "feature": feature}
    reader.narrow(sae, feature)
    card = reader.row("feature_card", **own)
    if card is None:
        return None
    explanations = reader.rows("feature_explanations", **own)
    judged = [each for each in explanations if _is_judged_by_windows(each)]
    chosen = next((each for each in judged if each["explanation_id"] == explanation_id), next(iter(judged), None))
    plain = {name: reader.rows(query, **own) for name, query in _PLAIN_QUERIES.items()}
    explained = _explained(explanations)
    rule = next((each["rule"] for each in plain["rules"]), "")
    lead = explained["best"]["explanation"] if explained["best"] else rule
    return {
        "card": card,
        "route_reason": reason_below(card["route_reason"] or "", lead, rule),
        **explained,
        "controls": _controls(reader, sae, card["route"]),
        "judged": judged,
        "chosen": chosen,
        **_windows(reader, vocabulary, own, chosen, fires=bool(card["n_active"]), shows_all=shows_all),
        "changed": reader.rows("changed_texts", **own, of_a_way=_OF_A_WAY),
        "shows_all": shows_all,
        **plain,
    }


def reason_below(reason: str, lead: str, rule: str) -> str:
    """Why a feature has its route, below the words that stand for it: if these are its rule, it is not repeated.

    A model's words stay: if they are few, they may stand anywhere in a reason.
    """
    return reason.replace(rule, "this rule holds") if rule and lead == rule else reason


def _is_judged_by_windows(explanation: Row) -> bool:
    return any(score["scorer"] != _OF_NO_WINDOW for score in explanation["scores"] or ())


def _explained(explanations: Sequence[Row]) -> dict[str, Any]:
    """The best explanation, those chosen and those not, and the scorers that have scored any."""
    chosen = [each for each in explanations if each["is_chosen"]]
    return {
        "best": next((each for each in chosen if each["explanation"] and not each["is_control"]), None),
        "explanations": chosen,
        "drafts": [each for each in explanations if not each["is_chosen"]],
        "scorers": sorted({score["scorer"] for each in explanations for score in each["scores"] or ()}),
    }


def _controls(reader: Reader, sae: str, route: str | None) -> dict[str, list[Row]]:
    """The mean scores of the controls of a route, by scorer."""
    controls: dict[str, list[Row]] = {}
    for row in reader.rows("control_scores", sae=sae, route=route):
        controls.setdefault(row["scorer"], []).append(row)
    return controls


def _windows(
    reader: Reader,
    vocabulary: Vocabulary,
    own: dict[str, Any],
    chosen: Row | None,
    *,
    fires: bool,
    shows_all: bool,
) -> dict[str, Any]:
    """The feature's windows in groups, with the answers about the chosen explanation, and the texts it led to."""
    drawn = reader.rows("shown_windows", **own)
    indexed = []
    if fires:
        of_a_decile = 0 if drawn else 2 * _STRONGEST
        indexed = reader.rows("indexed_windows", **own, strongest=_STRONGEST, of_a_decile=of_a_decile)
    rows = drawn or indexed
    answers = _answers(reader, own, chosen, rows) if chosen else {}
    strongest = _as_drawn(indexed[:_STRONGEST], drawn)
    largest = max((row["peak"] or 0.0 for row in (*strongest, *rows)), default=0.0)

    def show(row: Row) -> Window:
        return shade(row, vocabulary, largest, answers.get(row["example_id"], ()))

    return {
        "answered": sorted({answer.scorer for some in answers.values() for answer in some}),
        "groups": [
            Windows(title, [show(row) for row in some], n)
            for title, some, n in _groups(strongest, rows, shows_all=shows_all)
        ],
        "written": _written(reader, own, chosen, vocabulary, largest) if chosen else [],
    }


def _as_drawn(indexed: Sequence[Row], drawn: Sequence[Row]) -> list[Row]:
    """The index's windows; where one was drawn as an example, the example, as scorers have judged that."""
    examples = {(row["context_id"], row["start"]): row for row in drawn}
    return [
        examples.get((row["context_id"], row["start"]), row) | {"n_of_kind": row["n_of_kind"]} for row in indexed
    ]


def requests_page(
    reader: Reader, sae: str, feature: int, *, request_id: str | None = None, page: int = 1
) -> dict[str, Any]:
    """The requests sent to language models about a feature: one page of them, or a single one."""
    rows = reader.rows(
        "feature_requests",
        sae=sae,
        feature=feature,
        request_id=request_id,
        page_rows=_PAGE_REQUESTS,
        first_row=0 if request_id else (page - 1) * _PAGE_REQUESTS,
    )
    n_requests = rows[0]["n_requests"] if rows else 0
    return {
        "rows": rows,
        "is_one": bool(request_id),
        "page": page,
        "n_pages": -(-n_requests // _PAGE_REQUESTS),
    }


def _written(
    reader: Reader, own: dict[str, Any], chosen: Row, vocabulary: Vocabulary, largest: float
) -> list[Windows]:
    """The texts that a scorer had a model write from an explanation, those that should make it fire first."""
    rows = reader.rows("generated_texts", **own, explanation_id=chosen["explanation_id"])
    largest = max([largest, *(row["peak"] or 0.0 for row in rows)])
    groups = []
    for label, title in _WRITTEN.items():
        if some := [shade(row, vocabulary, largest) for row in rows if row["label"] == label]:
            groups.append(Windows(title, some, len(some)))
    return groups


def _answers(reader: Reader, own: dict[str, Any], chosen: Row, windows: Sequence[Row]) -> dict[str, list[Answer]]:
    """The answers about each window, by example_id."""
    activations = {row["example_id"]: row["activations"] for row in windows}
    found: dict[str, list[Answer]] = {}
    for row in reader.rows("feature_answers", **own, explanation_id=chosen["explanation_id"]):
        outcome, value = _outcome(row, activations.get(row["example_id"], []))
        answer = Answer(row["scorer"], outcome, value, row["status"], row["request_id"])
        found.setdefault(row["example_id"], []).append(answer)
    return found


def _outcome(row: Row, activations: Sequence[float]) -> tuple[Outcome, float | None]:
    """The outcome of an answer, and the value that is shown with it (see `Answer`)."""
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
    """A window with its tokens shaded by activation, where `largest` is darkest."""
    pieces = []
    for spelled, positions in vocabulary.characters(row["token_ids"]):
        activation = max(row["activations"][position] for position in positions)
        level = max(1, min(10, round(10 * activation / largest))) if activation > 0 else 0
        is_peak = activation > 0 and activation == row["peak"]
        pieces.append(Piece(spelled.decode("utf-8", "backslashreplace"), level, activation, is_peak))
    return Window(pieces, row, answers)


def _groups(
    strongest: Sequence[Row], rows: Sequence[Row], *, shows_all: bool
) -> Iterator[tuple[str, Sequence[Row], int]]:
    """The strongest windows, some of each decile, then silent ones of each kind: title, rows, total number."""
    if strongest:
        yield "Strongest", strongest, strongest[0]["n_of_kind"]
    shown = {(row["context_id"], row["start"]) for row in strongest}
    later = [row for row in rows if row["kind"] == "activating" and (row["context_id"], row["start"]) not in shown]
    for decile in range(10, 0, -1):
        if own := _test_first(row for row in later if row["decile"] == decile):
            yield f"Decile {decile}", own if shows_all else own[:_OF_A_DECILE], own[0]["n_alike"]
    for kind, title in KINDS.items():
        if own := _test_first(row for row in rows if row["kind"] == kind):
            yield title, own if shows_all else own[:_OF_A_KIND], own[0]["n_alike"]


def _test_first(rows: Iterable[Row]) -> list[Row]:
    """Windows of test documents first, as scorers judge only those."""
    return sorted(rows, key=lambda row: str(row["role"]) == "train")
