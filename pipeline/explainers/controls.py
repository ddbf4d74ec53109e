"""Controls: explanations that should score no better than chance, as a baseline for the others."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from pipeline.explainers.base import Explanation


class Control(NamedTuple):
    """A control explanation, and its explainer's name in the tables."""

    explainer: str
    explanation: Explanation


class Own(NamedTuple):
    """A feature's own explanation, which another feature may borrow, and its explainer."""

    explainer: str
    words: str


def controls(
    features: Sequence[int], own: Mapping[int, Own], near: Collection[tuple[int, int]] = ()
) -> Iterator[Control]:
    """Each feature's controls: the empty explanation, and another feature's explanation (`other_features`).

    Args:
        features: The features that get controls, in the order of their draw.
        own: The features' own explanations; missing where there is none.
        near: Pairs of a feature and a near neighbour.
    """
    for feature in features:
        yield Control("empty", Explanation(feature, ""))
    explained = {feature: own[feature] for feature in features if feature in own}
    for feature, other in other_features(explained, near):
        yield Control("other_feature", Explanation(feature, explained[other].words))


def other_features(
    own: Mapping[int, Own], near: Collection[tuple[int, int]] = (), n_others: int = 1
) -> Iterator[tuple[int, int]]:
    """Each feature with the features whose explanations it borrows: the next ones with other words.

    Those of the same explainer come first, so that a control differs from what it is compared with in what it
    says, not in its style. Near neighbours come last: their explanations may well be right about this feature.

    Args:
        own: The features' own explanations, in the order of their draw.
        near: Pairs of a feature and a near neighbour.
        n_others: Maximum number of explanations that a feature borrows.
    """

    def is_near(one: int, other: int) -> bool:
        return (one, other) in near or (other, one) in near

    explained = list(own)
    for number, feature in enumerate(explained):
        others = explained[number + 1 :] + explained[:number]
        others.sort(key=lambda other: (is_near(feature, other), own[other].explainer != own[feature].explainer))
        by_words: dict[str, int] = {}
        for other in others:
            if own[other].words != own[feature].words:
                by_words.setdefault(own[other].words, other)
        yield from ((feature, other) for other in islice(by_words.values(), n_others))
