"""How long the phases that ask no model take on this machine, said before they begin.

Reading is timed on the corpus's first texts. Preparing is mostly DuckDB and compiled passes over all firings: what
it took on a machine where it was measured (`benchmarks/store.py`), times how much longer a trial takes here.
"""

import time
from collections.abc import Sequence

from pipeline.corpus.tokenising import tokenise
from pipeline.estimate.caching import in_time
from pipeline.firings.store import count_rows
from pipeline.lake import Lake
from pipeline.models.load import load_tokenizer
from pipeline.sources import corpus_texts

_SAMPLE_CHARACTERS = 200_000

_TRIAL_SECONDS = 0.06
"""How long `machine_trial` takes on that machine."""
_SECONDS_A_MILLION_FIRINGS = 0.8
_SECONDS_AN_SAE = 15.0
"""Whatever its size: tables opened and written, machine code made or loaded, the unembedding read."""


def reading_sentence(lake: Lake) -> str:
    """How long the corpus takes to be read; without corpus.max_tokens what a million tokens take."""
    load_tokenizer(lake.config.subject)
    n_characters = n_tokens = 0
    started = time.monotonic()
    texts = (text._replace(text=text.text[:_SAMPLE_CHARACTERS]) for text in corpus_texts(lake.config))
    for text, token_ids in tokenise(texts, lake.config):
        n_tokens += len(token_ids)
        n_characters += len(text.text)
        if n_characters >= _SAMPLE_CHARACTERS:
            break
    speed = n_tokens / max(time.monotonic() - started, 1e-9)
    most = lake.config.corpus.max_tokens
    quantity = f"at most {most:,} tokens" if most else "each million tokens"
    return f"reading: {quantity} in {in_time((most or 1_000_000) / speed)} at {speed:,.0f} tokens a second"


def preparing_sentence(lake: Lake, saes: Sequence[str]) -> str:
    """How long the tables of all features of some SAEs take, whose shards are there."""
    n_firings = sum(
        count_rows(folder)
        for sae in saes
        for shard in range(lake.config.corpus.shards)
        for folder in lake.paths("activation_shards", sae=sae, shard=shard)
    )
    seconds = (_SECONDS_A_MILLION_FIRINGS * n_firings / 1e6 + _SECONDS_AN_SAE * len(saes)) * _slowness(lake)
    return f"preparing: statistics, rules and examples from {n_firings:,} firings in some {in_time(seconds)}"


def _slowness(lake: Lake) -> float:
    """How many times as long as there a trial takes here; the better of two."""
    trials = []
    with lake.connect(tables=()) as connection:
        for _ in range(2):
            started = time.monotonic()
            lake.select(connection, "machine_trial").fetchall()
            trials.append(time.monotonic() - started)
    return min(trials) / _TRIAL_SECONDS
