"""Estimates how long the phases without LLM requests take on this machine.

Reading is timed on the corpus's first texts. Preparing consists of DuckDB queries and compiled passes over all
firings: its time on a reference machine (`benchmarks/store.py`) is multiplied by how much slower a trial is here.
Added to that is the time the subject model takes to read scrambled contexts, at its measured speed.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.compiled.rules.mining_loops import count_contexts
from pipeline.estimate.caching import in_time, measure_firing
from pipeline.firings.forward import open_reader
from pipeline.firings.store import count_rows
from pipeline.lake import Lake
from pipeline.models.load import load_tokenizer
from pipeline.models.tokenising import tokenise
from pipeline.sources import corpus_texts
from pipeline.subject.forward import load_subject
from pipeline.tables import TABLES
from pipeline.tables.inputs import is_made

_SAMPLE_CHARACTERS = 200_000

_TRIAL_SECONDS = 0.06
"""Seconds that `machine_trial` takes on the reference machine."""
_SECONDS_A_MILLION_FIRINGS = {
    "activations": 0.06,
    "feature_tokens": 0.05,
    "feature_stats": 0.05,
    "feature_rules": 0.2,
    "rule_scores": 0.05,
    "example_index": 0.15,
    "feature_cofirings": 0.24,
}
"""By table, for those made from all firings; in their passes is compiled code."""
_SECONDS_A_TABLE = 1.2
"""Of an SAE, regardless of size: opening, checking and writing it, reading the unembedding, counting requests."""
_COMPILE_SECONDS = 20.0
"""Once per machine, to compile the passes to machine code."""
_MOST_NAMED = 3
"""How many tables to be prepared are named one by one."""
_TOKENS_A_CANDIDATE = 10
"""Tokens on which a unigram candidate is verified; 9.3 on average in the demo."""


def reading_sentence(lake: Lake) -> str:
    """The time to read the corpus; without corpus.max_tokens, the time per million tokens."""
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
    checks = any(sae.source for sae in lake.config.saes)
    then = "; then checking on some of them that each SAE fits" if checks else ""
    return f"reading: {quantity} in {seconds} at {speed:,.0f} tokens per second{then}"


def tables_to_prepare(lake: Lake) -> dict[str, list[str]]:
    """The tables of job `prepare` that each SAE lacks, by SAE; none with an object store.

    There, counting the firings that they are made from would fetch every shard.
    """
    if lake.objects is not None:
        return {}
    tables = [table.name for table in TABLES.values() if table.group == "prepare" and not table.is_always_made]
    made = [name for name in tables if is_made(lake.config, name)]
    lacking = {sae: [name for name in made if not lake.is_complete(name, sae)] for sae in lake.config.sae_names}
    return {sae: names for sae, names in lacking.items() if names}


def preparing_sentence(lake: Lake, missing: Mapping[str, Sequence[str]], n_to_come: int = 0) -> str:
    """The time to make tables of all features: the missing ones, by SAE (`tables_to_prepare`).

    They are made from the firings of the shards that exist and `n_to_come` more, of all these SAEs together.
    """
    tables = list(dict.fromkeys(table for some in missing.values() for table in some))
    what = ", ".join(tables) if len(tables) <= _MOST_NAMED else "statistics, rules and examples"
    trials, n_firings = _SECONDS_A_TABLE * sum(map(len, missing.values())), 0.0
    for sae, some in missing.items():
        if a_million := sum(_SECONDS_A_MILLION_FIRINGS.get(table, 0.0) for table in some):
            own = _n_firings(lake, sae) + n_to_come / len(missing)
            trials += a_million * own / 1e6
            n_firings += own
    if n_firings:
        what += f" from {n_firings:,.0f} firings"
        trials += 0 if _is_compiled() else _COMPILE_SECONDS
    seconds = trials * _slowness(lake) + sum(_scrambling_seconds(lake, sae) for sae in missing)
    return f"preparing: {what} in about {in_time(seconds)}"


def _n_firings(lake: Lake, sae: str) -> int:
    return sum(
        count_rows(folder)
        for shard in range(lake.config.corpus.shards)
        for folder in lake.paths("activation_shards", sae=sae, shard=shard)
    )


def _is_compiled() -> bool:
    """Whether the passes over firings have been compiled on this machine before."""
    kept_at: str = count_contexts.stats.cache_path  # type: ignore[attr-defined]  # numba's
    return any(Path(kept_at).glob(f"*.{count_contexts.__name__}-*.nbi"))


def _scrambling_seconds(lake: Lake, sae: str) -> float:
    """Seconds to read an SAE's scrambled contexts with the subject model, at the maximum number of candidates."""
    config, own = lake.config, lake.config.sae(sae)
    if not own.source or lake.has("scrambled_contexts", sae=sae):
        return 0.0
    subject = load_subject(config.subject, config.device)
    _, speed = measure_firing(lake, subject, {sae: open_reader(config, own, subject.device)})
    n_candidates = min(config.scrambling.max_features, own.n_features)
    n_texts = n_candidates * _TOKENS_A_CANDIDATE * config.scrambling.repeats
    return n_texts * (config.scrambling.n_fillers + 1) / speed


def _slowness(lake: Lake) -> float:
    """How much slower this machine is than the reference machine, from the better of two trials."""
    trials = []
    with lake.connect(tables=()) as connection:
        for _ in range(2):
            started = time.monotonic()
            lake.select(connection, "machine_trial").fetchall()
            trials.append(time.monotonic() - started)
    return min(trials) / _TRIAL_SECONDS
