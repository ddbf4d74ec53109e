"""The explorer of a lake in an object store: what all machines made, and ratings that all machines have."""

from pathlib import Path

import fsspec
import pytest
from explored import HOSTILE, N_FEATURES, client

from benchmarks.explorer_lake import make_lake, write_config
from pipeline.config import LAKE_VARIABLE, load_config
from pipeline.config.machine import CACHE_VARIABLE
from pipeline.explore.catalog import Catalog
from pipeline.explore.readers import keep_rating
from pipeline.lake import Lake
from pipeline.tables.versions import SourceHashes


def test_another_machine_shows_what_the_first_made_and_its_ratings_are_there_on_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = SourceHashes("made", {"synthetic": "made"}, "float32")
    monkeypatch.setattr("pipeline.sources.record.open_sources", lambda config: hashes)
    monkeypatch.setattr("pipeline.lake.objects._LOOK_SECONDS", -1.0)
    monkeypatch.setenv(LAKE_VARIABLE, "memory://explored")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "a"))
    config = load_config(write_config(tmp_path, N_FEATURES))
    first = Lake(config, hashes)
    make_lake(config, HOSTILE, n_contexts=20, n_tokens=40)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "b"))
    try:
        page = client(config).get("/features")
        assert page.status_code == 200 and page.text.count("/features/synthetic/") >= N_FEATURES
        catalog = Catalog(config)
        assert catalog.objects is not None
        keep_rating(catalog.folder, "a", "a1", "Ada", "fits", catalog.objects.journals.seal)
        with first.connect(tables=["ratings"]) as connection:
            assert connection.sql("select explanation_id, verdict from ratings").fetchall() == [("a", "fits")]
    finally:
        fsspec.filesystem("memory").store.clear()
