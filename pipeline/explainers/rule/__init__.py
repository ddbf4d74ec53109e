"""An explainer without a model: a feature's chosen rule, in words (see the table `feature_rules`)."""

from collections.abc import Iterator, Sequence

from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Tools
from pipeline.explainers.base import Explanation, Feature


class Rule:
    """Covers every feature that has a chosen rule."""

    name = "rule"
    role: RoleKind | None = None

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """The rules in words."""
        return (Explanation(each.feature, each.rule) for each in features if each.rule is not None)


explainer = Rule()
