"""An explanation improved with its own misses: the train windows that a judge given only it got wrong.

It begins with another explainer's explanation. In each round the judge (the scorer, with detection's questions) is
asked about train windows that no explainer is shown. The misses among one half of them, alternating in draw order,
are shown to the explainer (windows in which the feature fires and the judge said no, and silent windows about
which it said yes), which is asked for a better explanation. The other half is never shown; it decides which
round's explanation is chosen. The search ends early if there are no misses, an answer cannot be used, or the words
recur; a feature with too few such windows keeps its first explanation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from pipeline.asking.batches import ToAsk
from pipeline.asking.judging import Draft, Verdict, judge_drafts
from pipeline.asking.prompts import load_prompt
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Tools
from pipeline.asking.windows import one_line
from pipeline.config import Config, settings_of
from pipeline.errors import ConfigError
from pipeline.explainers.answers import ReadExplanation, read_explanation
from pipeline.explainers.base import Explanation, Feature, Shown
from pipeline.explainers.examples import largest_of, silent_lines
from pipeline.explainers.prompted import STAND_IN, Prompted
from pipeline.explainers.refinement.settings import Settings
from pipeline.explainers.searching import can_be_judged, chosen, judged, load_prompted
from pipeline.llm import Answer, Message
from pipeline.plugins import find_plugin

_ALSO_SHOWN = {
    "marked": "the list of marked tokens",
    "promoted": "promoted tokens",
    "silent": "silent windows",
    "suppressed": "suppressed tokens",
}
"""Fields of prompts in words."""

_SYSTEM, _USER = (load_prompt(Path(__file__).parent / f"{name}.txt") for name in ("system", "user"))


class Misses(NamedTuple):
    """Windows that the judge got wrong: `missed`, in which the feature fires, and `mistaken`, silent ones."""

    missed: list[Shown]
    mistaken: list[Shown]


@dataclass
class _Search:
    """The state of a feature's search: its explanations so far, and the misses of the last one.

    Attributes:
        feature: The feature.
        drafts: Its explanations, round by round.
        misses: The misses of the last one, once it has been judged; empty if too few questions were answered.
    """

    feature: Feature
    drafts: list[Explanation]
    misses: Misses = field(default_factory=lambda: Misses([], []))

    @property
    def is_new(self) -> bool:
        """Whether the last explanation's words are new."""
        *before, last = self.drafts
        return last.words is not None and last.words not in {draft.words for draft in before}


class Refinement:
    """Covers the same features as the explainer it builds on."""

    name = "refinement"
    role: RoleKind | None = "explainer"

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """The explanations of all rounds of each feature, one of them chosen."""
        own = settings_of(tools.config.explaining, self.name, Settings)
        base = load_prompted(self.name, own.of)
        by_id = {feature.feature: feature for feature in features}
        firsts = base.draws(features, tools, purpose=self.name)
        searches = [_Search(by_id[first.feature], [first]) for first in firsts]
        can_choose = can_be_judged(features, tools, own.n_questions, own.n_judging)
        going_on = [search for search in searches if search.is_new and search.feature.feature in can_choose]
        self._judge(going_on, tools, is_certain=True)
        for _ in range(own.rounds):
            missing = [search for search in going_on if any(search.misses)]
            self._improve(missing, base, tools)
            going_on = [search for search in missing if search.is_new]
            self._judge(going_on, tools, is_certain=False)
        for search in searches:
            yield from chosen(search.drafts)

    def _judge(self, searches: Sequence[_Search], tools: Tools, *, is_certain: bool) -> None:
        """Score the last explanation of each search, and record its misses."""
        own = settings_of(tools.config.explaining, self.name, Settings)
        drafts = [_draft(search) for search in searches]
        verdicts = judge_drafts(tools, drafts, own.n_judging, f"{self.name}_judging", is_certain=is_certain)
        for search, draft in zip(searches, drafts, strict=True):
            judging = [verdict for verdict in verdicts[draft] if verdict.draw % 2 == 0]
            trying = [verdict for verdict in verdicts[draft] if verdict.draw % 2 == 1]
            last = search.drafts[-1] = judged(search.drafts[-1], judging, tools.config.scoring, trying)
            search.misses = misses_of(trying, own.n_misses) if last.words is not None else Misses([], [])

    def _improve(self, searches: Sequence[_Search], base: Prompted, tools: Tools) -> None:
        """Ask for a better explanation in each search."""
        to_ask = [self._to_ask(search, base, tools) for search in searches]
        answers = tools.ask(to_ask)
        for search, each in zip(searches, to_ask, strict=True):
            answer = answers[each.request.request_id]
            words, status = _read(search, answer, base, tools)
            example_ids = [window.example_id for window in _windows(search)]
            feature, draw = search.feature.feature, len(search.drafts)
            search.drafts.append(Explanation(feature, words, status, example_ids, answer.request_id, draw))

    def _to_ask(self, search: _Search, base: Prompted, tools: Tools) -> ToAsk:
        explaining = tools.config.explaining.seen_by(base.name)
        vocabulary, feature = tools.vocabulary, search.feature
        missed, mistaken = search.misses
        first = base.request(explaining, tools.batch.sae, feature, vocabulary)
        largest = largest_of([*feature.shown, *missed])
        user = _USER.render(
            examples="\n".join(base.lines(explaining, feature.shown, vocabulary, largest)),
            explanation=one_line(_draft(search).words),
            missed="\n".join(base.lines(explaining, missed, vocabulary, largest)) if missed else "none",
            mistaken="\n".join(silent_lines(mistaken, vocabulary)) if mistaken else "none",
        )
        system = "\n".join(prompt.render() for prompt in (_SYSTEM, *base.notes_on_marks(explaining)))
        messages = (Message("system", system), Message("user", user))
        request = replace(first, purpose=self.name, messages=messages)
        stand_in = f"[EXPLANATION]: {STAND_IN}, number {feature.feature}, round {len(search.drafts)}"
        return ToAsk(
            request, lambda answer: _read(search, answer, base, tools).status == "ok", stand_in, is_certain=False
        )


def misses_of(verdicts: Sequence[Verdict], most: int) -> Misses:
    """The first `most` windows of each kind that the judge got wrong, in draw order."""
    wrong = [each for each in sorted(verdicts, key=lambda each: each.draw) if each.predicted == (not each.fires)]
    missed, mistaken = (
        [Shown(each.example_id, each.token_ids, each.activations) for each in wrong if each.fires == fires][:most]
        for fires in (True, False)
    )
    return Misses(missed, mistaken)


def _draft(search: _Search) -> Draft:
    return Draft(search.feature.feature, search.drafts[-1].words or "")


def _windows(search: _Search) -> list[Shown]:
    return [*search.feature.shown, *search.misses.missed, *search.misses.mistaken]


def _read(search: _Search, answer: Answer, base: Prompted, tools: Tools) -> ReadExplanation:
    windows = (tools.vocabulary.text(window.token_ids) for window in _windows(search))
    prompts = (_SYSTEM, _USER, *base.notes_on_marks(tools.config.explaining.seen_by(base.name)))
    return read_explanation(answer, [text for prompt in prompts for text in prompt.own_texts], windows)


explainer = Refinement()


def check(config: Config) -> None:
    """Raise ConfigError unless the explainer it builds on shows windows with marks and nothing else.

    Later rounds show windows alone: an explanation of promoted tokens would become another kind of explanation
    under the same name.
    """
    name = settings_of(config.explaining, Refinement.name, Settings).of
    base = load_prompted(Refinement.name, name)
    shown = base.shown_fields(config.explaining.seen_by(name))
    if not ("examples" in shown and base.has_marks):
        raise ConfigError(
            f"explaining.refinement.of: '{name}' does not show windows with marks, which refinement needs to "
            "show misses; name an explainer that does, such as 'default'"
        )
    if others := [_ALSO_SHOWN.get(field, field) for field in sorted(shown - {"examples"})]:
        raise ConfigError(
            f"explaining.refinement.of: '{name}' also shows {' and '.join(others)}, which refinement's later "
            "rounds would not; name an explainer that shows only windows with marks, such as 'default'"
        )
    find_plugin("explainers", name).check(config)
