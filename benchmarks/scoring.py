"""The pipeline's own cost, without the LLM, of scoring 1,000 features with 200 questions each, 40 per request.

Features of the demo, explained by keywords, are scored by detection and fuzzing, with 50 + 50 questions each. A
server in another process answers at once, each answer with its log-probabilities. The processor time of the whole
process from the examples to the scores is counted: windows, prompts, the client, the ledger, answers, and the SQL.
"""

import re
from functools import cache

from benchmarks.borrowed import asking_at, borrowed_lake, plain_errors
from benchmarks.figures import Figure, cpu_s, publish
from benchmarks.lean_server import response, serving
from pipeline.explainers.write import write_explanations
from pipeline.lake import Lake
from pipeline.make_table import make_table
from pipeline.pilot.write import write_scorer_rhos
from pipeline.scorers.write import write_predictions

N_FEATURES = 1000
N_QUESTIONS = 50
"""Questions with each answer, for each of two scorers."""
TARGET_S = 60
_EXPLAINING = {"explainers": ("keywords",), "controls": 0}
_SCORING = {
    **{"provider": "openai", "model": "any", "scorers": ("detection", "fuzzing"), "pilot_features": 0},
    **{"n_questions": N_QUESTIONS, "questions_per_prompt": 40, "max_features": None},
}


@plain_errors()
def main() -> None:
    """Measure and publish."""
    with borrowed_lake(N_FEATURES, explaining=_EXPLAINING, scoring=_SCORING) as lake:
        figures = _figures(lake)
    publish("scoring", figures)


def _figures(lake: Lake) -> list[Figure]:
    [sae] = lake.config.sae_names
    write_scorer_rhos(lake, sae)
    write_explanations(lake, sae, 0)
    with serving(0.0, complete) as url:
        lake.config = asking_at(lake.config, url)
        seconds = {
            "windows": cpu_s(lambda: [make_table(lake, each, sae=sae, batch=0) for each in _WINDOWS]),
            "predictions": cpu_s(lambda: write_predictions(lake, sae, 0)),
            "scores": cpu_s(lambda: [make_table(lake, each, sae=sae, batch=0) for each in _SCORES]),
        }
    with lake.connect(sae, 0) as connection:
        [counts] = connection.sql(
            """
            select count(*), count(distinct request_id), count(distinct feature), count(probability)
            from predictions
            where status = 'ok'
            """
        ).fetchall()
    n_questions, n_requests, n_features, n_probabilities = counts
    whole = N_FEATURES * 4 * N_QUESTIONS
    note = f"measured on {n_questions:,} questions about {n_features:,} features in {n_requests:,} requests"
    what = {
        "windows": "examples and fuzzing's pairs",
        "predictions": f"prompts, client, ledger, answers; {n_probabilities / n_questions:.2f} have a probability",
        "scores": "scores and their details",
    }
    return [
        Figure("scoring_cpu_s", sum(seconds.values()) * whole / n_questions, "s", target=TARGET_S, note=note),
        *(
            Figure(f"scoring_{part}_cpu_s", each * whole / n_questions, "s", note=what[part])
            for part, each in seconds.items()
        ),
    ]


_WINDOWS = ("examples", "fuzzing_pairs")
_SCORES = ("scores", "score_details")


def complete(body: bytes) -> bytes:
    """An answer to the questions of a request, by the schema in it: true and false alternating."""
    return _completion(body.count(b'"boolean"'))


@cache
def _completion(n: int) -> bytes:
    """An answer to n questions (0: to a probe), with the log-probabilities of its tokens."""
    said = ", ".join(f'"{number}": {"true" if number % 2 else "false"}' for number in range(1, n + 1))
    text = f"{{{said}}}" if n else '{"answer": "Yes"}'
    others = [{"token": each, "logprob": -3.0, "bytes": None} for each in (" true", " false", "Yes", "No")]
    pieces = [{"token": each, "logprob": -0.1, "bytes": None} for each in re.findall(r" ?\w+|\W", text)]
    return response(text, {"content": [{**each, "top_logprobs": [each, *others]} for each in pieces]})


if __name__ == "__main__":
    main()
