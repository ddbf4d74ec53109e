"""How many answers to the default explainer repeat its prompt, for the demo's model and a larger one.

A model in this process is asked about the demo's features of route llm, each with its own train windows, as in the
demo. Every answer counts, before any is dropped: also one that was cut off, and the whole text of one without the
mark. `--answers FILE` keeps the answers.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.borrowed import borrowed_lake, plain_errors
from benchmarks.figures import Figure, publish, scale_parser
from benchmarks.models import answers_of, at_scale
from pipeline.asking.tools import Batch
from pipeline.asking.windows import Vocabulary, load_vocabulary
from pipeline.config import ExplainingConfig, LocalConfig
from pipeline.explainers.answers import parse_explanation, read_explanation
from pipeline.explainers.base import Feature
from pipeline.explainers.default import explainer
from pipeline.explainers.echoes import names_nothing, repeats_run
from pipeline.explainers.write import read_features
from pipeline.llm import Answer
from pipeline.llm.local.client import LocalClient

SCALES = ("small", "large")
N_FEATURES = 64


@plain_errors()
def main() -> None:
    """Measure and publish."""
    parser = scale_parser("echoes", __doc__)
    parser.add_argument("--answers", type=Path, help="a file for the answers, one JSON object per line")
    given = parser.parse_args()
    with borrowed_lake(N_FEATURES) as lake, lake.connect(lake.config.sae_names[0], 0) as connection:
        batch = Batch(lake, connection, lake.config.sae_names[0], 0)
        batch.create("batch_features")
        features = list(read_features(batch, batch.select("explained_features").pl(), "default"))
        config, vocabulary = at_scale(lake.config, given.scale), load_vocabulary(lake)
    model = config.in_process(config.explaining)
    answers = ask(features, config.explaining, vocabulary, model)
    if given.answers:
        said = [
            {"feature": feature.feature, "status": answer.status, "text": answer.text}
            for feature, answer in zip(features, answers, strict=True)
        ]
        given.answers.write_text("".join(json.dumps(each) + "\n" for each in said), encoding="utf-8")
    by = f"answers of {model.model}" + (f" in {model.precision}" if model.precision else "")
    publish("echoes", figures(features, answers, vocabulary, by), given.scale)


def ask(
    features: Sequence[Feature], explaining: ExplainingConfig, vocabulary: Vocabulary, model: LocalConfig
) -> list[Answer]:
    """One answer per feature, in their order."""
    requests = [explainer.request(explaining, "benchmark", each, vocabulary) for each in features]
    return answers_of(LocalClient(model, "cpu"), requests)


def figures(
    features: Sequence[Feature], answers: Sequence[Answer], vocabulary: Vocabulary, by: str
) -> list[Figure]:
    """The share of echoes, whatever else is wrong with an answer, and the statuses of the answers."""
    windows = [[vocabulary.text(window.token_ids) for window in each.shown] for each in features]
    pairs = list(zip(answers, windows, strict=True))
    words = [parse_explanation(answer.text or "") or answer.text or "" for answer in answers]
    n_echoed, n_empty = (
        sum(finds(each, explainer.own_texts(), shown) for each, shown in zip(words, windows, strict=True))
        for finds in (repeats_run, names_nothing)
    )
    statuses = Counter(read_explanation(answer, explainer.own_texts(), shown).status for answer, shown in pairs)
    told = ", ".join(f"{n} {status}" for status, n in statuses.most_common())
    n = len(answers)
    return [
        Figure("echoed_share", n_echoed / n, "", 0.05, note=f"{n_echoed} of {n} {by}"),
        Figure("names_nothing_share", n_empty / n, "", note="all its words are from the prompt; includes echoes"),
        Figure("explained_share", statuses["ok"] / n, "", better="higher", note=told),
    ]


if __name__ == "__main__":
    main()
