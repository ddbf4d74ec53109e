"""Progress in a log: plain lines, and only of what takes long."""

import pytest

from pipeline import progress as module
from pipeline.progress import progress


def test_a_log_gets_plain_lines_now_and_then(monkeypatch, capsys):
    seconds = iter([0.0, 5.0, 21.0, 21.0, 30.0, 31.0, 31.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds))
    with progress(4000, "activations, shard 0", "tokens") as bar:
        for _ in range(3):
            bar.update(1000)
    assert capsys.readouterr().err.splitlines() == [
        "activations, shard 0: 2,000 of 4,000 tokens, 21 s",
        "activations, shard 0: 3,000 of 4,000 tokens, 31 s",
    ]


def test_the_end_is_said_once(monkeypatch, capsys):
    seconds = iter([0.0, 21.0, 21.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds))
    with progress(4000, "activations, shard 0", "tokens") as bar:
        bar.update(4000)
    assert capsys.readouterr().err == "activations, shard 0: 4,000 of 4,000 tokens, 21 s\n"


def test_what_is_soon_done_or_broken_off_says_nothing(capsys):
    with progress(None, "documents", "tokens") as bar:
        bar.update(10)
    with pytest.raises(KeyboardInterrupt), progress(2, "documents", "tokens"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
