"""The size of a model on the hub is said before it is downloaded, and only then."""

from types import SimpleNamespace

import httpx2
import pytest

from pipeline.models import hub
from pipeline.models.hub import tell_download


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said of a model on the hub, with two files of 1.5 GB, the first of which is here."""
    sentences: list[str] = []
    monkeypatch.setattr(hub, "tell", sentences.append)
    monkeypatch.setattr(hub, "hf_hub_url", lambda name, file, revision: file)
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda url: SimpleNamespace(size=1_500_000_000))
    here = {"one": "path/to/one"}
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file, revision: here.get(file))
    return sentences


def test_the_size_of_what_is_not_here_is_said(said):
    tell_download("some/model", ["one", "two", "three"], None)
    assert said == ["model 'some/model': 3.0 GB to download from the hub into its cache"]


def test_nothing_is_said_where_nothing_is_downloaded(said, tmp_path, monkeypatch):
    tell_download("some/model", ["one"], None)
    tell_download(str(tmp_path), ["two"], None)

    def offline(url: str) -> None:
        raise httpx2.ConnectError("no connection")

    monkeypatch.setattr(hub, "get_hf_file_metadata", offline)
    tell_download("some/model", ["two"], None)
    assert said == []
