"""How many prompt tokens a feature costs: one explanation, detection and fuzzing, on the demo's SAE.

Tokens are counted with the demo's tokenizer and its chat template. An oracle with set accuracies answers, not a
language model (`oracle`). The first tokens of a prompt, in whole blocks of 16, count as cached if an earlier
prompt of the run began with them: vLLM's prefix caching would not compute them again.
"""

import re
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks.borrowed import Asked, asked_lake, plain_errors
from benchmarks.figures import Figure, publish
from pipeline.models.load import load_tokenizer

N_FEATURES = 96
N_QUESTIONS = 50
TARGET_HALF_WIDTH = 0.10
ACCURACIES = tuple(np.linspace(0.60, 0.95, 8).tolist())
DELPHI_TOKENS = 36_600
"""Measured with delphi on the same SAE: explanation, detection and fuzzing at 100 questions each, 5 per prompt."""


_NUMBERED = re.compile(r"^\d+\t(.*(?:\n+ .*)*)$", re.MULTILINE)
"""A window in a prompt with several."""


class Tokens(NamedTuple):
    """Prompt tokens per feature, how many of them are cached, and questions per feature."""

    all: float
    cached: float
    questions: float


@plain_errors()
def main() -> None:
    """Measure and publish."""
    with asked_lake(N_FEATURES, ACCURACIES, n_questions=N_QUESTIONS, questions_per_prompt=50) as asked:
        fifty, by_all = _tokens(asked), _scores(asked)
    with asked_lake(N_FEATURES, ACCURACIES, n_questions=N_QUESTIONS, questions_per_prompt=5) as asked:
        five = _tokens(asked)
    with asked_lake(
        N_FEATURES,
        ACCURACIES,
        n_questions=N_QUESTIONS,
        questions_per_prompt=50,
        target_half_width=TARGET_HALF_WIDTH,
    ) as asked:
        figures = _sequential(asked, by_all)
    each = (
        f"one explanation, {fifty.questions:.0f} questions of detection and fuzzing (100 each where it has them)"
    )
    publish(
        "tokens",
        [
            Figure("prompt_tokens_per_feature", fifty.all, "tokens", 13_000, note=f"{each}; 50 per prompt"),
            Figure("prompt_tokens_per_feature_uncached", fifty.all - fifty.cached, "tokens", note="the same"),
            Figure("prompt_tokens_per_feature_at_5", five.all, "tokens", DELPHI_TOKENS,
                   note="the same at 5 per prompt; the target is delphi's figure"),
            Figure("prompt_tokens_per_feature_at_5_uncached", five.all - five.cached, "tokens", note="the same"),
            *figures,
        ],
    )  # fmt: skip


def _sequential(asked: Asked, by_all: pl.DataFrame) -> list[Figure]:
    """Tokens, questions, coverage and bias of sequential scoring by an oracle whose accuracies are known.

    `by_all` are the scores of the same features when all questions are asked. They have no bias, and share answers
    with those of sequential scoring, so the difference shows the bias better than the oracle's accuracies do.
    """
    tokens, limit, scores = _tokens(asked), _limit(asked), _scores(asked)
    low, high, n = (scores[name].to_numpy() for name in ("ci_low", "ci_high", "n_scored"))
    index = np.searchsorted(np.unique(scores["feature"]), scores["feature"])
    truth = np.array(ACCURACIES)[index % len(ACCURACIES)]
    holds = (low - 1e-9 <= truth) & (truth <= high + 1e-9)
    is_narrow = (high - low) / 2 <= TARGET_HALF_WIDTH
    both = scores.join(by_all, on=("feature", "scorer"), suffix="_by_all")
    lean = (both["balanced_accuracy"] - both["balanced_accuracy_by_all"]).to_numpy()
    by = f"oracle of accuracies {ACCURACIES[0]:.2f} to {ACCURACIES[-1]:.2f}"
    return [
        Figure("sequential_prompt_tokens_per_feature", tokens.all - tokens.cached, "tokens", 5_200,
               note=f"to a half-width of {TARGET_HALF_WIDTH}, without cached prefix tokens; {by}"),
        Figure("sequential_prompt_tokens_limit", limit, "tokens",
               note="the fewest questions that the interval needs at these accuracies (at least 20 + 20), times "
               "the tokens of a window as it is written, plus the explainer's uncached tokens"),
        Figure("sequential_prompt_tokens_over_limit", (tokens.all - tokens.cached) / limit, "", 1.25,
               note="ratio of the two"),
        Figure("sequential_prompt_tokens_per_feature_with_cached", tokens.all, "tokens", note="all prompt tokens"),
        Figure("sequential_questions_per_score", float(n.mean()), "questions",
               note=f"out of at most {2 * N_QUESTIONS}, give or take {float(n.std() / np.sqrt(len(n))):.1f} by "
               "chance; the tokens vary with it"),
        Figure("sequential_narrow_share", float(is_narrow.mean()), "share", better="higher",
               note=f"share of {len(n)} scores with a half-width of {TARGET_HALF_WIDTH} or less"),
        Figure("sequential_coverage", float(holds.mean()), "share", better="higher",
               note=f"share of {len(n)} 95 % intervals that contain the oracle's accuracy, give or take "
               f"{float(np.sqrt(0.95 * 0.05 / len(n))):.3f}; {by}"),
        Figure("sequential_bias", float(abs(lean.mean())), "", 0.01,
               note="distance of the mean balanced accuracy from that of all questions, give or take "
               f"{float(lean.std() / np.sqrt(len(lean))):.4f}"),
    ]  # fmt: skip


def _scores(asked: Asked) -> pl.DataFrame:
    """The scores of the explainer's explanations by scorers that ask, one row per feature and scorer."""
    with asked.lake.connect(asked.sae, 0) as connection:
        rows: pl.DataFrame = connection.sql(
            "select feature, scorer, balanced_accuracy, ci_low, ci_high, n_scored from scores "
            "where explainer = 'default' and scorer <> 'rule_exact' order by feature, scorer"
        ).pl()
    return rows


def _limit(asked: Asked) -> float:
    """The minimum prompt tokens per feature for any scorer in rounds: see the figure's note."""
    tokenizer = load_tokenizer(asked.lake.config.subject)
    z = asked.lake.config.scoring.z
    fewest = np.mean([2 * _fewest(accuracy, z) for accuracy in ACCURACIES])
    with asked.lake.connect(asked.sae, 0) as connection:
        prompts = connection.sql("select purpose, messages[-1].content from llm_requests").fetchall()
        [(explaining,)] = connection.sql(
            "select avg(prompt_tokens - cached_tokens) from llm_requests where purpose = 'explain'"
        ).fetchall()
    written = 0.0
    for scorer in ("detection", "fuzzing"):
        texts = [text for purpose, said in prompts if purpose == scorer for text in _NUMBERED.findall(said)]
        written += float(np.mean([len(ids) for ids in tokenizer(texts, add_special_tokens=False).input_ids]))
    return float(explaining + fewest * written)


def _fewest(accuracy: float, z: float) -> int:
    """Questions with each answer at which the interval of two equal rates (Wilson, MOVER) reaches the target."""
    for n in range(20, N_QUESTIONS):
        zz = z * z / n
        half = z * np.sqrt(accuracy * (1 - accuracy) / n + zz / (4 * n)) / (1 + zz)
        away = (accuracy + zz / 2) / (1 + zz) - accuracy
        sides = [min(half - away, accuracy), min(half + away, 1 - accuracy)]
        if sum(sides) * np.sqrt(2) / 4 <= TARGET_HALF_WIDTH:
            return n
    return N_QUESTIONS


def _tokens(asked: Asked) -> Tokens:
    """Prompt tokens per feature, over the requests that its explanation and its predictions name."""
    with asked.lake.connect(asked.sae, 0) as connection:
        [(total, cached, n_features, n_questions)] = connection.sql(
            """
            with named as (
                select request_id from explanations where explainer = 'default'
                union
                select p.request_id
                from predictions as p
                join explanations as e using (explanation_id)
                where e.explainer = 'default'
            )
            select
                sum(prompt_tokens),
                sum(cached_tokens),
                (select count(*) from explanations where explainer = 'default'),
                (select count(*) from predictions semi join explanations as e
                    on e.explanation_id = predictions.explanation_id and e.explainer = 'default')
            from llm_requests
            semi join named using (request_id)
            """
        ).fetchall()
    return Tokens(total / n_features, cached / n_features, n_questions / n_features)


if __name__ == "__main__":
    main()
