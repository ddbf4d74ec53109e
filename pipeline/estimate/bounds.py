"""Upper bounds of what a run asks about an SAE whose tables are not there yet.

They follow from the config: the features that it selects at most, times the questions about each. A prompt's
tokens are those of windows of the corpus's first texts.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain, cycle, islice
from typing import NamedTuple

from pipeline.asking.roles import RoleName, role_of, scorer_role
from pipeline.asking.spending import prices_of
from pipeline.asking.windows import Vocabulary
from pipeline.config import Config, ScoringConfig
from pipeline.estimate.caching import first_texts
from pipeline.estimate.own_models import asks_nobody
from pipeline.estimate.tokens import foreign_counter, own_counter
from pipeline.explainers.base import Feature, Shown
from pipeline.explainers.prompted import STAND_IN, Prompted
from pipeline.explainers.write import load_explainer
from pipeline.features.wanted import read_feature_list
from pipeline.lake import Lake
from pipeline.llm import Request
from pipeline.models.load import load_tokenizer
from pipeline.models.token_bytes import token_bytes
from pipeline.scorers.write import load_scorer
from pipeline.scorers.yes_no import YesNo
from pipeline.scorers.yes_no.requests import Question, score_request

_WINDOWS = 100
"""Windows of the corpus's first texts: as many as a prompt shows at most."""


class Bound(NamedTuple):
    """The most that is asked for a purpose; `cost_usd` is null if the price file has no price for the model."""

    purpose: str
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


def most_features(config: Config, sae: str) -> list[int]:
    """The most features of an SAE that a run explains, by batch."""
    selection, n_features = config.selection, config.sae(sae).n_features
    if listed := read_feature_list(config):
        batches: Counter[int] = Counter()
        for row in listed.features.to_pylist():
            if row["sae"] == sae:
                batches[row["feature"] // selection.batch_size] += 1
        sizes = sorted(batches.values(), reverse=True)  # priorities may put any batch first
    else:
        starts = range(0, n_features, selection.batch_size)
        sizes = [min(selection.batch_size, n_features - start) for start in starts]
    if selection.quotas is not None:
        most = sum(selection.quotas.values())
        sizes = [min(size, most) for size in sizes]
    return sizes[: selection.batches_per_run]


def bounds_of(lake: Lake, sae: str) -> tuple[list[Bound], list[str]]:
    """The bounds of explainers and scorers that ask a model, and the names of those whose requests vary too much.

    Among the latter are explainers that search, scorers whose questions depend on the feature, and thresholds.
    """
    config, sizes, sample = lake.config, most_features(lake.config, sae), _Sample(lake)
    bounds, others = [], []
    for name in config.explaining.explainers:
        explainer = load_explainer(name)
        if isinstance(explainer, Prompted):
            request = sample.explaining_request(sae, explainer)
            bounds.append(_bound(config, request.purpose, "explainer", request, _explained(config, name, sizes)))
        elif explainer.role is not None:
            others.append(name)
    for name in config.scoring.scorers:
        if asks_nobody(config, name):
            continue
        scorer = load_scorer(name)
        if isinstance(scorer, YesNo):
            request = sample.scoring_request(sae, name, scorer)
            n_requests = _scored(config, sizes) * _prompts(config.asked_by(name).scoring)
            bounds.append(_bound(config, name, scorer_role(name), request, n_requests))
        else:
            others.append(name)
    if config.scoring.scorers and config.scoring.threshold == "controls":
        others.append("thresholds")
    return bounds, others


class _Sample:
    """Requests about a feature that is shown windows of the corpus's first texts."""

    def __init__(self, lake: Lake) -> None:
        self._config = lake.config
        tokenizer = load_tokenizer(lake.config.subject)
        self._vocabulary = Vocabulary([*map(token_bytes(tokenizer), range(len(tokenizer)))])
        length = lake.config.sampling.slot_tokens
        ids = [*islice(chain.from_iterable(first_texts(lake)), _WINDOWS * length)]
        self._windows = [ids[start : start + length] for start in range(0, len(ids), length)]

    def explaining_request(self, sae: str, explainer: Prompted) -> Request:
        """The request for an explanation."""
        own = self._config.explaining.seen_by(explainer.name)
        n_silent = self._config.explaining.n_silent_of(explainer.name)
        n_tokens = self._config.heuristics.top_tokens
        tokens = list(islice(cycle(self._windows[0]), n_tokens))
        shown, silent = self._shown(own.n_examples), self._shown(n_silent)
        feature = Feature(0, "llm", None, True, shown, silent, promoted=tokens, suppressed=tokens)
        return explainer.request(own, sae, feature, self._vocabulary)

    def scoring_request(self, sae: str, name: str, scorer: YesNo) -> Request:
        """The request with the most questions about an explanation."""
        scoring = self._config.asked_by(name).scoring
        n = min(scoring.questions_per_prompt or 1, scoring.n_questions + scoring.n_noes)
        questions = [
            Question(f"{number}", shown.example_id, [len(shown.token_ids) // 2], True, shown.token_ids)
            for number, shown in enumerate(self._shown(n))
        ]
        words, is_one = STAND_IN, scoring.questions_per_prompt in (None, 1)
        return score_request(scoring, sae, 0, scorer.name, words, questions, self._vocabulary, is_one=is_one)

    def _shown(self, n: int) -> list[Shown]:
        """`n` windows that fire on one token."""
        windows = islice(cycle(self._windows), n)
        return [
            Shown(f"{number}", ids, [float(place == len(ids) // 2) for place in range(len(ids))])
            for number, ids in enumerate(windows)
        ]


def _bound(config: Config, purpose: str, role_name: RoleName, request: Request, n_requests: int) -> Bound:
    role = role_of(config, role_name)
    if role.is_local:
        counter = own_counter(load_tokenizer(role.local_model))
    else:
        counter = foreign_counter(load_tokenizer(config.subject), [], is_of_texts=False)
    [prompt_tokens] = counter.prompts([request.messages])
    tokens = round(n_requests * prompt_tokens), n_requests * request.most_tokens
    usd = prices_of(role).usd(role.model, *tokens, in_batch=role.batches is not None)
    return Bound(purpose, role.model, n_requests, *tokens, usd)


def _prompts(scoring: ScoringConfig) -> int:
    """The most requests about one explanation: a round that ends early may leave its prompts half filled."""
    n_questions, per_prompt = scoring.n_questions + scoring.n_noes, scoring.questions_per_prompt or 1
    if scoring.target_half_width is None:
        return math.ceil(n_questions / per_prompt)
    n_first = min(2 * scoring.min_questions, n_questions)
    return math.ceil(n_first / per_prompt) + n_questions - n_first


def _explained(config: Config, explainer: str, sizes: Sequence[int], most: int | None = None) -> int:
    """The most features that an explainer explains, at most `most` of a batch."""
    found, quotas = load_explainer(explainer), config.selection.quotas
    limits = [most]
    if found.role is not None:
        limits.append(config.explaining.max_features)
    if isinstance(found, Prompted) and quotas is not None:  # which leave features of route `rule` to their rule
        limits.append(sum(n for route, n in quotas.items() if route != "rule"))
    return sum(min([size, *(limit for limit in limits if limit is not None)]) for size in sizes)


def _scored(config: Config, sizes: Sequence[int]) -> int:
    """The most explanations that a scorer asks a model about, controls included.

    Some features have two controls; the pilot may pair its own with other features than their batches do.
    """
    most, n_controls = config.scoring.max_features, config.explaining.controls
    limit = n_controls if most is None else min(n_controls, most)
    n_controlled = sum(min(size, limit) for size in sizes)
    own = sum(_explained(config, explainer, sizes, most) for explainer in config.explaining.explainers)
    return own + 2 * n_controlled + min(config.scoring.pilot_features, n_controlled)
