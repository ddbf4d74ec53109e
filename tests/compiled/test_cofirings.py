"""Co-firings are counted as a join of all pairs would count them, and come in the order of their excess."""

import contextlib
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.compiled import cofirings
from pipeline.compiled.cofirings import counted_firings, list_by_token, most_cofiring
from pipeline.firings.buckets import Bucket

N_FEATURES, N_TOKENS = 30, 200


def firings(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which features fire on which tokens, [N_FEATURES, N_TOKENS], and the same as starts and tokens.

    Rare and dense ones; 1 fires where 0 does, 2 never fires.
    """
    rng = np.random.default_rng(seed)
    fires = rng.random((N_FEATURES, N_TOKENS)) < rng.choice([0.02, 0.1, 0.7], N_FEATURES)[:, None]
    fires[1] = fires[0] & (rng.random(N_TOKENS) < 0.8)
    fires[2] = False
    starts = np.concatenate([[0], np.cumsum(fires.sum(axis=1))])
    return fires, starts, np.nonzero(fires)[1].astype(np.int32)


@pytest.mark.parametrize("seed", range(3))
def test_those_that_fire_together_most_above_chance_come_first(seed: int) -> None:
    fires, starts, token = firings(seed)
    n_found, other, n_both = most_cofiring(starts, token, *list_by_token(starts, token, N_TOKENS), 7)
    together = fires.astype(int) @ fires.T.astype(int)
    n = fires.sum(axis=1)
    for feature in range(N_FEATURES):
        above = {each: together[feature, each] - float(n[feature]) * float(n[each]) / N_TOKENS
                 for each in range(N_FEATURES) if each != feature}  # fmt: skip
        expected = sorted((each for each in above if above[each] > 0), key=lambda each: (-above[each], each))[:7]
        assert list(other[feature, : n_found[feature]]) == expected
        assert list(n_both[feature, : n_found[feature]]) == [together[feature, each] for each in expected]
    assert n_found[2] == 0


def test_firings_are_listed_by_token_in_the_order_of_features() -> None:
    fires, starts, token = firings(5)
    token_starts, features = list_by_token(starts, token, N_TOKENS)
    for number in range(N_TOKENS):
        own = features[token_starts[number] : token_starts[number + 1]]
        assert list(own) == list(np.flatnonzero(fires[:, number]))


def test_without_firings_nothing_is_found() -> None:
    starts, token = np.zeros(N_FEATURES + 1, np.int64), np.empty(0, np.int32)
    assert not most_cofiring(starts, token, *list_by_token(starts, token, 0), 7)[0].any()


def test_the_tokens_of_a_long_corpus_are_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_tokens = 5_000_000
    lake = SimpleNamespace(
        config=SimpleNamespace(sae=lambda name: SimpleNamespace(n_features=2)),
        scratch=lambda name: contextlib.nullcontext(tmp_path),
    )
    token_index, strength = np.array([3, n_tokens - 1, 3, 4]), np.ones(4, np.float32)
    bucket = Bucket(np.arange(2), np.array([0, 2, 4]), token_index, strength)
    monkeypatch.setattr(cofirings, "read_bucket", lambda *given: bucket)
    tracemalloc.start()
    starts, token = counted_firings(lake, "one", np.array([3, n_tokens - 1]))  # type: ignore[arg-type]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (starts.tolist(), token.tolist()) == ([0, 2, 3], [0, 1, 0])
    assert most < n_tokens
