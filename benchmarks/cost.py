"""Tokens of one call of each kind, on the demo SAE with the demo's tokenizer, as priced in `docs/cost.md`.

The prompts are those that would be sent about batch 0 of the demo, at 5 questions per prompt, as in the post, and
at 50. It needs the tables of a demo run: `make demo` first.
"""

from statistics import mean

from benchmarks.borrowed import DEMO, plain_errors
from benchmarks.figures import Figure, publish
from pipeline.asking.stand_ins import Counted
from pipeline.config import Config, load_config
from pipeline.estimate.counting import count_requests
from pipeline.estimate.tokens import TokenCounter, own_counter
from pipeline.features.selection import select_features
from pipeline.models.load import load_tokenizer
from pipeline.plugins import find_plugins
from pipeline.sources import recorded_lake
from pipeline.tables.stages import STAGES

N_EXAMPLES = 20
N_QUESTIONS = 25
"""Questions for each answer and scorer, so that each scorer asks 50 about a feature."""
PER_PROMPT = 5
"""Questions per prompt when an explainer's draws are judged, as in the post."""


@plain_errors()
def main() -> None:
    """Count and publish."""
    config = load_config(DEMO)
    figures = [figure for per_prompt in (5, 50) for figure in _measure(_with_questions(config, per_prompt))]
    figures += [figure for name in _asking() for figure in _measure_explainer(config, name)]
    publish("cost", list({figure.name: figure for figure in figures}.values()))


def _with_questions(config: Config, per_prompt: int) -> Config:
    """The demo's config, asking as many questions as the figures are for."""
    scoring = {
        **{"n_questions": N_QUESTIONS, "questions_per_prompt": per_prompt},
        **{"scorers": ("detection", "fuzzing"), "max_features": None},
    }
    return config.model_copy(
        update={
            "explaining": config.explaining.model_copy(
                update={"n_examples": N_EXAMPLES, "explainers": ("default", "rule")}
            ),
            "scoring": config.scoring.model_copy(update=scoring),
        }
    )


def _asking() -> list[str]:
    """The explainers that ask a model."""
    explainers = {name: plugin.load().explainer for name, plugin in sorted(find_plugins("explainers").items())}
    return [name for name, explainer in explainers.items() if explainer.role is not None]


def _measure_explainer(config: Config, name: str) -> list[Figure]:
    """The most that one explainer with its default settings takes per feature, its search included."""
    config = _with_questions(config, PER_PROMPT)
    alone = {
        "explaining": config.explaining.model_copy(update={"explainers": (name,)}),
        "scoring": config.scoring.model_copy(update={"max_features": 0}),
    }
    counted, counter = _counted(config.model_copy(update=alone))
    n_features = len({each.request.feature for each in counted})
    prompts = counter.prompts([each.request.messages for each in counted])
    answers = counter.texts([each.answer for each in counted])
    note = f"per feature, at most; {n_features} features"
    return [
        Figure(f"by_{name}_prompt_tokens", sum(prompts) / n_features, "tokens", note=note),
        Figure(f"by_{name}_answer_tokens", sum(answers) / n_features, "tokens", note="in the form asked for"),
        Figure(f"by_{name}_requests", len(counted) / n_features, "requests", note="per feature, at most"),
        Figure(
            f"by_{name}_least_requests",
            sum(each.is_certain for each in counted) / n_features,
            "requests",
            note="per feature, at least",
        ),
    ]


def _counted(config: Config) -> tuple[list[Counted], TokenCounter]:
    """The requests about features of route `llm` and their own explanations, and the counter of their tokens."""
    lake, sae = recorded_lake(config), config.sae_names[0]
    lake.require(*STAGES["estimate"].inputs, sae=sae)
    selected = select_features(lake, sae)
    needs = count_requests(lake, sae, 0, selected, pilot=selected.slice(0, 0))
    counted = [each for each in needs.requests if each.is_plain]
    return counted, own_counter(load_tokenizer(config.in_process(config.scoring)))


def _measure(config: Config) -> list[Figure]:
    """Means over the calls about features of route `llm`, for their own explanations."""
    counted, counter = _counted(config)
    figures = []
    for purpose in dict.fromkeys(each.request.purpose for each in counted):
        calls = [each for each in counted if each.request.purpose == purpose]
        n_features = len({each.request.feature for each in calls})
        per_prompt = config.scoring.questions_per_prompt
        kind, shown = (
            ("explain", f"{N_EXAMPLES} examples")
            if purpose == "explain"
            else (f"{purpose}_{per_prompt}", f"at most {per_prompt} questions per call")
        )
        note = f"{shown}, mean of {len(calls)} calls about {n_features} features"
        prompts = counter.prompts([each.request.messages for each in calls])
        answers = counter.texts([each.answer for each in calls])
        figures += [
            Figure(f"{kind}_prompt_tokens", mean(prompts), "tokens", note=note),
            Figure(f"{kind}_answer_tokens", mean(answers), "tokens", note="an answer in the form asked for"),
            Figure(f"{kind}_calls", len(calls) / n_features, "calls", note="per feature"),
        ]
    return figures


if __name__ == "__main__":
    main()
