"""A synthetic lake of the post's size: a corpus and firings whose patterns are known.

Tokens follow Zipf's law, documents have lognormal lengths, and features have lognormal frequencies; a tenth are
dead and a few are dense. Planted features fire on one token, on a set of tokens, after a token, or at positions of
the context. Between 5 and 30 % of their firings are off their pattern, because a feature without noise flatters
the heuristic that looks for it. All other features fire anywhere, each with its own strength.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Config
from pipeline.firings.buffers import FiringBuffer
from pipeline.firings.files import Firings
from pipeline.lake import Lake
from pipeline.tables import TABLES
from pipeline.tables.versions import SourceHashes

Kind = Literal["background", "unigram", "token_set", "previous_token", "positional", "dense", "dead"]

SAE = "synthetic"
CONTEXT_LENGTH = 256
VOCABULARY = 50_257
SPREAD = 1.85
"""Standard deviation of the logarithm of feature frequencies, as in the demo SAE."""

BURSTS = 0.5
"""Share of the background firings that are followed by another firing within a few tokens (in the demo SAE, the
median distance between two firings is 12 tokens)."""

_TOKENS_AT_ONCE = 262_144

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """A size: tokens of the corpus, features of the SAE, mean firings per token, shards."""

    name: str
    n_tokens: int
    n_features: int
    firings_per_token: int = 32
    shards: int = 8


SIZES = {
    "small": Size("small", 1_000_000, 32_768, shards=4),
    "large": Size("large", 10_000_000, 131_072, shards=16),
}


class Pattern(NamedTuple):
    """What makes planted features fire: pairs of a key (token id or position) and a feature, sorted by key.

    keys and features: [n_pairs] int64; probability: [n_pairs], the probability of firing where the key occurs.
    """

    keys: Ints
    features: Ints
    probability: Floats


class Plan(NamedTuple):
    """The features of a synthetic SAE.

    kinds: [n_features]; background: [n_features], firings per token without a pattern; strength: [n_features],
    median activation; by_token, by_previous and by_position: the patterns.
    """

    kinds: npt.NDArray[np.str_]
    background: Floats
    strength: Floats
    by_token: Pattern
    by_previous: Pattern
    by_position: Pattern


def open_synthetic(size: Size, lake: Path) -> Lake:
    """The lake for a size; nothing is written."""
    config = Config.model_validate(
        {
            "name": f"synthetic_{size.name}",
            "subject": {"model": "synthetic"},
            "saes": [{"name": SAE, "source": "synthetic", "hookpoint": "layers.0", "n_features": size.n_features}],
            "corpus": {
                "sources": [{"kind": "python"}],
                "context_length": CONTEXT_LENGTH,
                "shards": size.shards,
            },
            "selection": {"quotas": None},
            "machine": {"lake": str(lake), "memory_limit": "4GB"},
        }
    )
    return Lake(config, SourceHashes(saes={SAE: "synthetic"}))


def write_corpus(lake: Lake, size: Size) -> None:
    """Write documents, tokens, contexts and slots, each with the pipeline's own SQL."""
    from pipeline.corpus.documents import READ_SCHEMA  # here, because it loads torch, which other steps do without
    from pipeline.make_table import make_table

    documents = pa.RecordBatchReader.from_batches(READ_SCHEMA, _documents(size, READ_SCHEMA))
    earlier = TABLES["documents"].schema.empty_table()
    make_table(lake, "documents", given={"read_documents": documents, "earlier_documents": earlier})
    texts = [f" t{number}" for number in range(VOCABULARY)]
    columns = [
        pa.array(range(VOCABULARY), pa.int32()),
        pa.array(texts),
        pa.array([text.encode() for text in texts]),
        pa.array([False] * VOCABULARY),
    ]
    lake.write("tokens", pa.table(columns, names=["token_id", "text", "bytes", "is_special"]))
    for shard in range(size.shards):
        make_table(lake, "contexts", shard=shard, bos_token_id=[])
    make_table(lake, "slots")
    row = {"sae": SAE, "hookpoint": "layers.0", "format": "synthetic", "d_in": 768, "n_features": size.n_features}
    row |= {"source": "synthetic", "weights_hash": "synthetic"}
    lake.write("saes", pa.Table.from_pylist([row], schema=TABLES["saes"].schema), sae=SAE)


def plan_features(size: Size) -> Plan:
    """The plan for `store`: 10 % dead, 3 % unigram, 3 % token sets, 1 % previous token, a few positional."""
    rng = np.random.default_rng(0)
    n = size.n_features
    kinds = np.full(n, "background", dtype="<U16")
    order = rng.permutation(n)
    counts = {
        "dead": n // 10,
        "unigram": n * 3 // 100,
        "token_set": n * 3 // 100,
        "previous_token": n // 100,
        "positional": max(16, n // 1600),
        "dense": 4,
    }
    start = 0
    for kind, count in counts.items():
        kinds[order[start : start + count]] = kind
        start += count
    planted = np.isin(kinds, ["unigram", "token_set", "previous_token", "positional"])
    n_firings = np.exp(rng.normal(np.log(300 * size.n_tokens / 1e6), SPREAD, n))
    return plan_of(size, kinds, n_firings, np.where(planted, rng.uniform(0.05, 0.3, n), 1.0), rng)


def plan_of(
    size: Size,
    kinds: npt.NDArray[np.str_],
    n_firings: Floats,
    off_share: Floats,
    rng: np.random.Generator,
) -> Plan:
    """A plan with patterns for planted features, given firings and the share off the pattern; all [n_features].

    Background features are scaled so that the total reaches the size's firings per token, if that is set.
    """
    frequency = _zipf()
    on_pattern = n_firings * (1 - off_share) / size.n_tokens  # firings per token
    pairs: dict[str, list[tuple[Ints, Ints, Floats]]] = {"token": [], "previous": [], "position": []}
    for feature in np.flatnonzero(np.isin(kinds, ["unigram", "token_set", "previous_token", "positional"])):
        kind, share = kinds[feature], on_pattern[feature]
        if kind == "positional":
            first = int(rng.integers(1, CONTEXT_LENGTH // 2))
            keys = np.arange(first, min(first + int(rng.integers(1, 33)), CONTEXT_LENGTH))
            probability = np.full(len(keys), min(0.95, share * CONTEXT_LENGTH / len(keys)))
            pairs["position"].append((keys, np.full(len(keys), feature), probability))
            continue
        n_tokens = 1 if kind == "unigram" else int(rng.integers(2, 6 if kind == "previous_token" else 16))
        wanted = share / n_tokens / rng.uniform(0.5, 1.0)  # a token so frequent, firing so often, gives the share
        first = np.searchsorted(-frequency, -wanted)
        keys = np.unique(np.minimum(first + rng.integers(0, max(2, first // 2), n_tokens), VOCABULARY - 1))
        probability = np.minimum(1.0, share / len(keys) / frequency[keys])
        pairs["previous" if kind == "previous_token" else "token"].append(
            (keys, np.full(len(keys), feature), probability)
        )
    background = n_firings * off_share / size.n_tokens
    background[kinds == "dead"] = 0
    background[kinds == "dense"] = rng.uniform(0.12, 0.3, int((kinds == "dense").sum()))
    free = kinds == "background"
    left = size.firings_per_token - on_pattern[np.char.not_equal(kinds, "dead")].sum() - background[~free].sum()
    if size.firings_per_token:
        background[free] *= max(left, 0) / background[free].sum()
    return Plan(
        kinds,
        background,
        np.exp(rng.normal(1.0, 0.7, size.n_features)),
        _pattern(pairs["token"]),
        _pattern(pairs["previous"]),
        _pattern(pairs["position"]),
    )


def firings_of_shard(lake: Lake, plan: Plan, shard: int) -> Iterator[Firings]:
    """The firings of a shard in the order of the tokens, a few hundred thousand tokens at a time."""
    rng = np.random.default_rng([1, shard])
    chances = np.cumsum(plan.background)
    for token_index, token_id, position in _tokens(lake, shard):
        n_tokens = len(token_id)
        previous = np.where(position > 0, np.roll(token_id, 1), -1)
        drawn = rng.random(rng.poisson(chances[-1] * n_tokens / (1 + BURSTS))) * chances[-1]
        anywhere = (rng.integers(0, n_tokens, len(drawn)) << 20) | np.searchsorted(chances, drawn, side="right")
        follows = rng.random(len(drawn)) < BURSTS
        burst = anywhere[follows] + (rng.geometric(1 / 6, follows.sum()) << 20)
        keys = [
            anywhere,
            burst[burst >> 20 < n_tokens],
            _fired(plan.by_token, token_id, rng),
            _fired(plan.by_previous, previous, rng),
            _fired(plan.by_position, position, rng),
        ]
        packed = np.unique(np.concatenate(keys))
        feature, index = (packed & 0xFFFFF).astype(np.int32), packed >> 20
        strength = plan.strength[feature] * np.exp(0.6 * rng.standard_normal(len(feature), dtype=np.float32))
        yield Firings(feature, token_index[index], strength.astype(np.float32))


class Written(NamedTuple):
    """The firings of a shard that was written, and the CPU seconds in the store's code alone."""

    n_rows: int
    cpu_s: float


def write_shard(lake: Lake, plan: Plan, shard: int) -> Written:
    """Write a shard of firings through the store's own buffer."""
    target = lake.path("activation_shards", sae=SAE, shard=shard)
    lake.ensure_schema_file("activation_shards", SAE)
    n_rows, cpu_s = 0, 0.0
    with lake.writing(target) as folder:
        buffer = FiringBuffer(folder, SAE, lake.config.sae(SAE).n_features)
        for firings in firings_of_shard(lake, plan, shard):
            begin = time.process_time()
            buffer.add(firings)
            buffer.flush()
            cpu_s += time.process_time() - begin
            n_rows += len(firings.feature)
    return Written(n_rows, cpu_s)


def write_neighbours(lake: Lake, size: Size) -> None:
    """Write ten random neighbours per feature, because there is no decoder; hard negatives come from them."""
    rng, n_neighbours = np.random.default_rng(3), 10
    n_rows = size.n_features * n_neighbours
    columns = {
        "sae": pa.repeat(SAE, n_rows),
        "feature": np.repeat(np.arange(size.n_features, dtype=np.int32), n_neighbours),
        "neighbour": rng.integers(0, size.n_features, n_rows, dtype=np.int32),
        "rank": np.tile(np.arange(1, n_neighbours + 1, dtype=np.int32), size.n_features),
        "cosine": np.zeros(n_rows, np.float32),
    }
    lake.write("feature_neighbours", pa.table(columns), sae=SAE)


def _documents(size: Size, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Documents of Zipf tokens and lognormal lengths (median 500), a thousand at a time."""
    rng = np.random.default_rng(2)
    chances = np.cumsum(_zipf())
    n_left, ordinal = size.n_tokens, 0
    while n_left > 0:
        lengths = np.clip(np.exp(rng.normal(6.2, 0.8, 1000)).astype(np.int64), 50, 8000)
        lengths = lengths[: np.searchsorted(np.cumsum(lengths), n_left) + 1]
        ids = np.minimum(np.searchsorted(chances, rng.random(lengths.sum())), VOCABULARY - 1).astype(np.int32)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        numbers = range(ordinal, ordinal + len(lengths))
        # Multiplying by an odd number shuffles the ids, by which documents are ordered, without duplicates.
        names = [f"{(number * 0x9E3779B97F4A7C15) % 2**64:016x}" for number in numbers]
        empty = pa.array([""] * len(lengths))
        lists = pa.ListArray.from_arrays(offsets, ids)
        yield pa.RecordBatch.from_arrays(
            [pa.array(numbers, pa.int64()), pa.array(names), empty, pa.array(names), empty, lists],
            schema=schema,
        )
        n_left -= int(lengths.sum())
        ordinal += len(lengths)


def _tokens(lake: Lake, shard: int) -> Iterator[tuple[Ints, Ints, Ints]]:
    """A shard's tokens in pieces: token_index, token_id and position, each [n]."""
    with lake.connect() as connection:
        rows = connection.sql(
            "select context_id, token_ids from contexts where shard = $shard order by context_id",
            params={"shard": shard},
        ).to_arrow_reader(_TOKENS_AT_ONCE // CONTEXT_LENGTH)
        for batch in rows:
            lists = batch["token_ids"]
            lengths = np.diff(lists.offsets.to_numpy())
            starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
            position = np.arange(lengths.sum()) - starts
            context_id = np.repeat(batch["context_id"].to_numpy(), lengths)
            token_id = lists.flatten().to_numpy().astype(np.int64)
            yield context_id * CONTEXT_LENGTH + position, token_id, position


def _zipf() -> Floats:
    """Frequency of each token of the vocabulary, by rank (Mandelbrot's form, exponent 1, offset 2.7)."""
    weights = 1 / (np.arange(VOCABULARY) + 2.7)
    frequencies: Floats = weights / weights.sum()
    return frequencies


def _pattern(pairs: list[tuple[Ints, Ints, Floats]]) -> Pattern:
    if not pairs:
        return Pattern(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    keys, features, probability = (np.concatenate(column) for column in zip(*pairs, strict=True))
    order = np.argsort(keys, kind="stable")
    return Pattern(keys[order], features[order], probability[order])


def _fired(pattern: Pattern, keys: Ints, rng: np.random.Generator) -> Ints:
    """Packed (index of the token << 20 | feature) of a pattern's firings, from the tokens' keys [n_tokens]."""
    first, last = np.searchsorted(pattern.keys, keys), np.searchsorted(pattern.keys, keys, side="right")
    n_pairs = last - first
    index = np.repeat(np.arange(len(keys)), n_pairs)
    pair = np.arange(n_pairs.sum()) - np.repeat(np.cumsum(n_pairs) - n_pairs, n_pairs) + np.repeat(first, n_pairs)
    fires = rng.random(len(pair)) < pattern.probability[pair]
    packed: Ints = (index[fires] << 20) | pattern.features[pair[fires]]
    return packed
