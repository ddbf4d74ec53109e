"""Forms of simulation on the same features: expected values from log-probabilities, and whole numbers as JSON.

Features of the demo's route llm are explained by `keywords`, which asks no model, and simulated twice by one model
on the same test windows: by `local`, which reads all tokens at once as `all_at_once` does on a server (there from
the 15 likeliest tokens), and by `structured`. The figures are the share of windows with values, the mean
correlation, the mean difference over features for which both forms have one, and the cost of each form. `--scale
small` asks the embedded model, `--scale large` the one with 1.5B parameters in int8 (1.1 GB to download at first
use). It needs the tables of a demo run: `make demo` first.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.borrowed import borrowed_lake, plain_errors
from benchmarks.figures import Figure, publish
from benchmarks.wordings import LARGE, SCALES
from pipeline.explainers.write import write_explanations
from pipeline.lake import Lake
from pipeline.make_table import make_table
from pipeline.pilot.write import write_scorer_rhos
from pipeline.scorers.write import write_predictions

FORMS = ("local", "structured")
N_FEATURES = {"small": 8, "large": 4}


class Simulated(NamedTuple):
    """The result of a form: correlations by feature, the share of windows with values, tokens and CPU seconds."""

    correlations: Mapping[int, float]
    answered: float
    prompt_tokens: float
    written_tokens: float
    cpu_s: float


@plain_errors()
def main() -> None:
    """Measure, print, write `results/simulations.json` or `results/simulations_large.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulations", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--features", type=int, help="number of features; default: 8 (small) or 4 (large)")
    given = parser.parse_args()
    scale, n_features = given.scale, given.features or N_FEATURES[given.scale]
    sections = {
        "explaining": {"explainers": ("keywords",), "controls": 0},
        "scoring": {"scorers": ("simulation",), "pilot_features": 0, "max_features": None},
    }
    with borrowed_lake(n_features, **sections) as lake:
        if scale == "large":
            lake = Lake(lake.config.with_llm(LARGE), lake.hashes)
        write_explanations(lake, lake.config.sae_names[0], 0)
        found = {form: simulated(lake, form) for form in FORMS}
        figures = list(_figures(found, lake.config.scoring.model))
    publish("simulations" if scale == "small" else "simulations_large", figures)


def simulated(lake: Lake, form: str) -> Simulated:
    """Ask and score with one form."""
    scoring = lake.config.scoring
    own = scoring.simulation.model_copy(update={"method": form})  # type: ignore[attr-defined]  # a plug-in's
    config = lake.config.model_copy(update={"scoring": scoring.model_copy(update={"simulation": own})})
    asking, [sae] = Lake(config, lake.hashes), config.sae_names
    write_scorer_rhos(asking, sae)
    started = time.process_time()
    write_predictions(asking, sae, 0)
    cpu_s = time.process_time() - started
    make_table(asking, "scores", sae=sae, batch=0)
    with asking.connect(sae, 0) as connection:
        scores = connection.sql("select feature, correlation from scores where scorer = 'simulation'").fetchall()
        [(answered, prompt, written)] = connection.sql(
            "select avg((predictions.status = 'ok')::int), avg(prompt_tokens), avg(completion_tokens) "
            "from predictions join llm_requests using (request_id)"
        ).fetchall()
    correlations = {feature: r for feature, r in scores if r is not None}
    return Simulated(correlations, answered, prompt, written, cpu_s)


def _figures(found: Mapping[str, Simulated], model: str) -> Iterator[Figure]:
    for form, each in found.items():
        note = f"{form}, {len(each.correlations)} features with a score; {model}"
        yield Figure(f"{form}_answered", each.answered, "share", better="higher", note=note)
        if each.correlations:
            mean = float(np.mean([*each.correlations.values()]))
            yield Figure(f"{form}_correlation", mean, "", better="higher", note=note)
        yield Figure(f"{form}_prompt_tokens", each.prompt_tokens, "tokens", note="per window")
        yield Figure(f"{form}_written_tokens", each.written_tokens, "tokens", note="per window")
        yield Figure(f"{form}_cpu_s", each.cpu_s, "CPU-s", note="all windows")
    first, second = (found[form].correlations for form in FORMS)
    both = sorted({*first} & {*second})
    if len(both) > 1:
        gains = np.array([first[feature] - second[feature] for feature in both])
        error = float(gains.std(ddof=1)) / len(both) ** 0.5
        note = f"{FORMS[0]} minus {FORMS[1]}, {len(both)} features, standard error {error:.2f}"
        yield Figure("difference", float(gains.mean()), "", better="higher", note=note)


if __name__ == "__main__":
    main()
