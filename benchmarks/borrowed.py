"""The demo's lake, borrowed: a separate experiment on the features that `make demo` prepared, asking an oracle.

The tables up to the features' routes and candidate examples are read from the demo's lake. Everything that is
made, including the ledger, goes into a folder that is deleted afterwards.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.oracle import OracleServer
from pipeline.asking.truth import read_truth
from pipeline.config import LAKE_VARIABLE, Config, load_config
from pipeline.errors import LakeError, LatentlakeError
from pipeline.explainers.write import write_explanations
from pipeline.features.selection import write_selected_features
from pipeline.lake import Lake
from pipeline.llm.oracle.brain import Oracle, Rates
from pipeline.make_table import make_table
from pipeline.models.load import load_tokenizer
from pipeline.pilot.write import write_scorer_rhos
from pipeline.scorers.write import write_predictions
from pipeline.sources import SOURCES_FILE, recorded_lake
from pipeline.sources.record import read_record

DEMO = Path(__file__).parent.parent / "config" / "demo.yaml"
_BORROWED = (
    *("saes", "documents", "tokens", "contexts", "slots", "activations", "feature_tokens", "feature_stats"),
    *("feature_rules", "rule_scores", "feature_routes", "example_index", "feature_neighbours", "feature_logits"),
    *("feature_cofirings", "train_words", "stated_rule_scores"),
)
_NO_DEMO = "this benchmark runs on the demo's lake; make it first: make demo"


class Asked(NamedTuple):
    """A lake with an oracle's explanations, predictions and scores, and the SAE's name."""

    lake: Lake
    sae: str


@contextmanager
def plain_errors() -> Iterator[None]:
    """End the process with a sentence, as a command does, where a benchmark cannot run."""
    try:
        yield
    except LatentlakeError as error:
        sys.exit(f"error: {error}")


@contextmanager
def borrowed_lake(n_features: int, **sections: Mapping[str, Any]) -> Iterator[Lake]:
    """A lake with the demo's features, in which the first `n_features` drawn from route llm are selected.

    The demo's budget does not limit it: a figure of half the answers would look like one of all.

    Args:
        n_features: Number of features selected from the whole SAE, in one batch.
        **sections: Keys of the config's sections that differ from the demo's.

    Raises:
        LakeError: There is no demo, or it was made by other code.
    """
    config = load_config(DEMO)
    demo = recorded_lake(config)
    sae = config.sae_names[0]
    if not all(demo.is_complete(table, sae) for table in _BORROWED):
        raise LakeError(f"'{demo.root}' is not complete, or was made by other code; {_NO_DEMO}")
    features = config.sae(sae).n_features
    selection: Mapping[str, Any] = {"batch_size": features, "quotas": {"llm": n_features}}
    given: dict[str, Mapping[str, Any]] = {"selection": selection, "budget": {"max_requests": None}, **sections}
    record = {**read_record(config), "batch_size": features}
    changed = {name: getattr(config, name).model_copy(update=dict(keys)) for name, keys in given.items()}
    with tempfile.TemporaryDirectory() as folder, _lakes_in(folder):
        lake = Lake(config.model_copy(update=changed), demo.hashes)
        lake.root.mkdir(parents=True)
        (lake.root / SOURCES_FILE).write_text(json.dumps(record), encoding="utf-8")
        (lake.root.parent / "models").symlink_to(demo.root.parent / "models")  # with the converted models
        for table in _BORROWED:
            target = lake.folder(table, sae)
            target.parent.mkdir()
            target.symlink_to(demo.folder(table, sae))
        write_selected_features(lake, sae)
        make_table(lake, "examples", sae=sae, batch=0)
        make_table(lake, "fuzzing_pairs", sae=sae, batch=0)
        yield lake


@contextmanager
def asked_lake(
    n_features: int,
    accuracies: Sequence[float],
    failure_rate: float = 0.0,
    controls: int = 0,
    **scoring: Any,
) -> Iterator[Asked]:
    """A borrowed lake, explained and scored by an oracle.

    Args:
        n_features: Number of features.
        accuracies: The share of questions that the oracle answers correctly; features take these values in turn.
        failure_rate: Probability that it leaves out a question of a prompt with several.
        controls: Number of features that also get an empty explanation.
        **scoring: Keys of the config's `scoring`.
    """
    asks = {"provider": "openai", "model": "oracle", "max_features": None}
    scores = {"scorers": ("detection", "fuzzing"), "pilot_features": 0}
    explaining = {**asks, "explainers": ("default",), "controls": controls}
    sections = {"explaining": explaining, "scoring": {**asks, **scores, **scoring}}
    with borrowed_lake(n_features, **sections) as lake:
        sae = lake.config.sae_names[0]
        truth = read_truth(lake, sae, 0)
        rates: dict[int | None, float] = {
            feature: 1 - accuracies[number % len(accuracies)] for number, feature in enumerate(sorted(truth.words))
        }
        oracle = Oracle(truth, lambda named: _either_way(rates.get(named, 0.0)), failure_rate)
        with OracleServer(oracle, load_tokenizer(lake.config.subject)) as server:
            lake.config = asking_at(lake.config, server.base_url)
            write_scorer_rhos(lake, sae)
            write_explanations(lake, sae, 0)
            write_predictions(lake, sae, 0)
        make_table(lake, "scores", sae=sae, batch=0)
        yield Asked(lake, sae)


def _either_way(error_rate: float) -> Rates:
    """The same error rate whether the correct answer is yes or no."""
    return Rates(error_rate, error_rate)


def asking_at(config: Config, base_url: str) -> Config:
    """The config with both endpoints at a URL; endpoints are in no stage hash."""
    endpoint = config.endpoints.scorer.model_copy(update={"base_url": base_url, "max_concurrent": 8})
    endpoints = config.endpoints.model_copy(update={"explainer": endpoint, "scorer": endpoint})
    return config.model_copy(update={"endpoints": endpoints})


@contextmanager
def _lakes_in(folder: str) -> Iterator[None]:
    """Put all lakes below a folder for the duration of the block."""
    before = os.environ.get(LAKE_VARIABLE)
    os.environ[LAKE_VARIABLE] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ[LAKE_VARIABLE]
        else:
            os.environ[LAKE_VARIABLE] = before
