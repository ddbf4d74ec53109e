"""The best of k explanations: another explainer's request is drawn k times, and the best draw is chosen.

Each draw is a request of its own (its number is part of the request). The scorer judges it by detection's
questions about train windows that no explainer is shown. Draws with the same words are judged once; if all draws
agree, none is judged. A feature with too few such windows has one draw, which is not judged. The choice never sees
a test document; the chosen draw is the one scored on test documents.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, groupby

from pipeline.asking.judging import Draft, judge_drafts
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Tools
from pipeline.config import Config, settings_of
from pipeline.explainers.base import Explanation, Feature
from pipeline.explainers.best_of_k.settings import Settings
from pipeline.explainers.searching import can_be_judged, chosen, judged, load_prompted
from pipeline.plugins import find_plugin


class BestOfK:
    """Covers the same features as the explainer it builds on."""

    name = "best_of_k"
    role: RoleKind | None = "explainer"

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """All draws of each feature, one of them chosen."""
        own = settings_of(tools.config.explaining, self.name, Settings)
        base = load_prompted(self.name, own.of)
        can_choose = can_be_judged(features, tools, own.n_questions, own.n_judging)
        draw = partial(base.draws, purpose=self.name, temperature=own.temperature)
        draws = chain(
            draw([each for each in features if each.feature in can_choose], tools, own.k),
            draw([each for each in features if each.feature not in can_choose], tools, 1),
        )
        by_feature = {feature: list(drafts) for feature, drafts in groupby(draws, lambda draft: draft.feature)}
        differing = {
            Draft(feature, words)
            for feature, drafts in by_feature.items()
            if len({draft.words for draft in drafts if draft.words}) > 1
            for words in (draft.words for draft in drafts)
            if words
        }
        verdicts = judge_drafts(tools, differing, own.n_questions, f"{self.name}_judging", is_certain=False)
        for feature, drafts in by_feature.items():
            scored = [
                judged(draft, verdicts.get(Draft(feature, draft.words or ""), ()), tools.config.scoring)
                for draft in drafts
            ]
            yield from chosen(scored)


explainer = BestOfK()


def check(config: Config) -> None:
    """Raise ConfigError unless the explainer it builds on asks a model once per feature and can work here."""
    base = load_prompted(BestOfK.name, settings_of(config.explaining, BestOfK.name, Settings).of)
    find_plugin("explainers", base.name).check(config)
