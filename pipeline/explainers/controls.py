"""The controls: explanations that should score no better than chance, against which the others are read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.explainers.base import Explanation


class Control(NamedTuple):
    """A control explanation, and the name under which it stands in the tables."""

    explainer: str
    explanation: Explanation


def controls(
    features: Sequence[int], own: Mapping[int, str | None], near: Collection[tuple[int, int]] = ()
) -> Iterator[Control]:
    """The empty explanation, and another feature's (`other_features`).

    Args:
        features: The features that get controls, in the order of their draw.
        own: What each feature was explained by, if it was.
        near: Features and near neighbours of theirs.
    """
    for feature in features:
        yield Control("empty", Explanation(feature, ""))
    explained = {feature: words for feature in features if (words := own.get(feature))}
    for feature, other in other_features(explained, near):
        yield Control("other_feature", Explanation(feature, explained[other]))


def other_features(
    own: Mapping[int, str], near: Collection[tuple[int, int]] = ()
) -> Iterator[tuple[int, int]]:
    """Each feature with the one whose explanation it is to borrow: the next one whose words differ.

    A near neighbour, whose explanation may well be right about this one, serves only where no other feature can.

    Args:
        own: What each feature is explained by, in the order of their draw.
        near: Features and near neighbours of theirs.
    """
    explained = list(own)
    for place, feature in enumerate(explained):
        others = explained[place + 1 :] + explained[:place]
        for other in sorted(others, key=lambda other: (feature, other) in near or (other, feature) in near):
            if own[other] != own[feature]:
                yield feature, other
                break
