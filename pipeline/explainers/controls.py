"""Controls: explanations that should score no better than chance, as a baseline for the others."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.explainers.base import Explanation


class Control(NamedTuple):
    """A control explanation, and its explainer's name in the tables."""

    explainer: str
    explanation: Explanation


def controls(
    features: Sequence[int], own: Mapping[int, str | None], near: Collection[tuple[int, int]] = ()
) -> Iterator[Control]:
    """Each feature's controls: the empty explanation, and another feature's explanation (`other_features`).

    Args:
        features: The features that get controls, in the order of their draw.
        own: The features' own explanations; None or missing where there is none.
        near: Pairs of a feature and a near neighbour.
    """
    for feature in features:
        yield Control("empty", Explanation(feature, ""))
    explained = {feature: words for feature in features if (words := own.get(feature))}
    for feature, other in other_features(explained, near):
        yield Control("other_feature", Explanation(feature, explained[other]))


def other_features(own: Mapping[int, str], near: Collection[tuple[int, int]] = ()) -> Iterator[tuple[int, int]]:
    """Each feature with the feature whose explanation it borrows: the next one whose words differ.

    Near neighbours come last, as their explanations may well be right about this feature, too.

    Args:
        own: The features' own explanations, in the order of their draw.
        near: Pairs of a feature and a near neighbour.
    """
    explained = list(own)
    for number, feature in enumerate(explained):
        others = explained[number + 1 :] + explained[:number]
        for other in sorted(others, key=lambda other: (feature, other) in near or (other, feature) in near):
            if own[other] != own[feature]:
                yield feature, other
                break
