"""What an explainer is: features in, explanations out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from pipeline.asking.roles import RoleName
from pipeline.asking.tools import Tools


class Shown(NamedTuple):
    """A train window that an explainer is shown."""

    example_id: str
    token_ids: Sequence[int]
    activations: Sequence[float]


class Feature(NamedTuple):
    """A feature that is to be explained.

    Attributes:
        feature: Its index in the SAE.
        route: Where it was routed, and so who should explain it.
        rule: Its chosen rule in words, or None.
        is_asked: Whether a language model is asked about it: it comes before `explaining.max_features` by draw.
        shown: Its train windows, in the order in which they are shown.
    """

    feature: int
    route: str
    rule: str | None
    is_asked: bool
    shown: Sequence[Shown]


class Explanation(NamedTuple):
    """What came of explaining a feature.

    Attributes:
        feature: The feature.
        words: The explanation; None unless the status is `ok`.
        status: As in the table `explanations`.
        example_ids: The windows that it was made from.
        request_id: The request that it came from, or None.
        draw: 0, or the number of a further explanation by the same explainer.
    """

    feature: int
    words: str | None
    status: str = "ok"
    example_ids: Sequence[str] = ()
    request_id: str | None = None
    draw: int = 0


class Explainer(Protocol):
    """A plug-in: the object `explainer` of a package below `pipeline/explainers`.

    Attributes:
        name: Its name.
        role: In which role it asks a language model; None where it asks none.
    """

    name: str
    role: RoleName | None

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """Explain those of the features that are its to explain, in any order; it may ask several times."""
        ...
