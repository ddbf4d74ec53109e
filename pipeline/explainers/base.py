"""The interface of an explainer: features in, explanations out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Tools


class Shown(NamedTuple):
    """A train window that an explainer is shown."""

    example_id: str
    token_ids: Sequence[int]
    activations: Sequence[float]


class Feature(NamedTuple):
    """A feature to be explained.

    Attributes:
        feature: Its index in the SAE.
        route: Its route, which determines how it should be explained.
        rule: Its chosen rule in words, or None.
        is_asked: Whether a language model is asked about it: its rank is within `explaining.max_features`.
        shown: The activating train windows that the explainer shows, in order.
        silent: The silent windows that it shows, similar to the activating ones, in order.
        promoted: Tokens that its direction makes more likely, the most promoted first; None if unknown.
        suppressed: Tokens that it makes less likely, the most suppressed first; None if unknown.
    """

    feature: int
    route: str
    rule: str | None
    is_asked: bool
    shown: Sequence[Shown]
    silent: Sequence[Shown] = ()
    promoted: Sequence[int] | None = None
    suppressed: Sequence[int] | None = None


class Explanation(NamedTuple):
    """The result of explaining a feature; the fields but for `words` are columns of the table `explanations`.

    Attributes:
        feature: The feature.
        words: The explanation; None unless the status is `ok`.
        status: As in the table `explanations`.
        example_ids: The windows that it was made from.
        request_id: The request that it came from, or None.
        draw: 0, or the number of a further explanation by the same explainer.
        is_chosen: Whether it is the explainer's choice among its draws.
        train_score: Its balanced accuracy on the train windows that judged it, or None.
        same_as_draw: The first draw with the same words, or None.
        judge_request_ids: The requests that judged it on train windows.
    """

    feature: int
    words: str | None
    status: str = "ok"
    example_ids: Sequence[str] = ()
    request_id: str | None = None
    draw: int = 0
    is_chosen: bool = True
    train_score: float | None = None
    same_as_draw: int | None = None
    judge_request_ids: Sequence[str] = ()


class Explainer(Protocol):
    """A plug-in: the object `explainer` of a package below `pipeline/explainers`.

    Attributes:
        name: Its name.
        role: The role in which it asks a language model; None if it asks none.
    """

    name: str
    role: RoleKind | None

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """Explain the features that it covers, in any order; it may ask several times."""
        ...
