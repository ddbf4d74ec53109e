"""How long the phases that ask no model take on this machine, said before they begin.

Reading is timed on the corpus's first texts. Preparing is DuckDB and compiled passes over all firings: what it
took on a machine where it was measured (`benchmarks/store.py`), times how much longer a trial takes here. To that
comes what the subject model reads for scrambled contexts, at the speed at which it reads here.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.compiled.rules.mining_loops import count_contexts
from pipeline.corpus.tokenising import tokenise
from pipeline.estimate.caching import in_time, measure_firing
from pipeline.firings.forward import open_reader
from pipeline.firings.store import count_rows
from pipeline.lake import Lake
from pipeline.models.load import load_tokenizer
from pipeline.sources import corpus_texts
from pipeline.subject.forward import load_subject

_SAMPLE_CHARACTERS = 200_000

_TRIAL_SECONDS = 0.06
"""How long `machine_trial` takes on that machine."""
_SECONDS_A_MILLION_FIRINGS = 0.8
_SECONDS_AN_SAE = 15.0
"""Whatever its size: tables opened, checked and written, the unembedding read, requests counted."""
_COMPILE_SECONDS = 20.0
"""Once on a machine: until the compiled passes are machine code."""
_TOKENS_A_CANDIDATE = 10
"""Tokens that a unigram candidate is verified on; the demo's have 9.3."""


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
    seconds = in_time((most or 1_000_000) / speed)
    return (
        f"reading: {quantity} in {seconds} at {speed:,.0f} tokens a second; some then tell whether each SAE fits"
    )


def preparing_sentence(lake: Lake, saes: Sequence[str]) -> str:
    """How long the tables of all features of some SAEs take, whose shards are there."""
    n_firings = sum(
        count_rows(folder)
        for sae in saes
        for shard in range(lake.config.corpus.shards)
        for folder in lake.paths("activation_shards", sae=sae, shard=shard)
    )
    trials = _SECONDS_A_MILLION_FIRINGS * n_firings / 1e6 + _SECONDS_AN_SAE * len(saes)
    seconds = (trials + (0 if _is_compiled() else _COMPILE_SECONDS)) * _slowness(lake)
    seconds += sum(_scrambling_seconds(lake, sae) for sae in saes)
    return f"preparing: statistics, rules and examples from {n_firings:,} firings in some {in_time(seconds)}"


def _is_compiled() -> bool:
    """Whether the passes over firings have been compiled on this machine before."""
    kept_at: str = count_contexts.stats.cache_path  # type: ignore[attr-defined]  # numba's
    return any(Path(kept_at).glob(f"*.{count_contexts.__name__}-*.nbi"))


def _scrambling_seconds(lake: Lake, sae: str) -> float:
    """How long the subject model reads scrambled contexts of an SAE, with as many candidates as there may be."""
    config, own = lake.config, lake.config.sae(sae)
    if not own.source or lake.has("scrambled_contexts", sae=sae):
        return 0.0
    subject = load_subject(config.subject, config.device)
    _, speed = measure_firing(lake, subject, {sae: open_reader(config, own, subject.device)})
    n_candidates = min(config.scrambling.max_features, own.n_features)
    n_texts = n_candidates * _TOKENS_A_CANDIDATE * config.scrambling.repeats
    return n_texts * (config.scrambling.n_fillers + 1) / speed


def _slowness(lake: Lake) -> float:
    """How many times as long as there a trial takes here; the better of two."""
    trials = []
    with lake.connect(tables=()) as connection:
        for _ in range(2):
            started = time.monotonic()
            lake.select(connection, "machine_trial").fetchall()
            trials.append(time.monotonic() - started)
    return min(trials) / _TRIAL_SECONDS
