"""What a GPU is asked to wait for; a device without values, and streams that are written down, stand for one."""

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import write_random_sae
from transformers import AutoModel, masking_utils

from pipeline.firings.forward import Reader, run_batch
from pipeline.sae import load_sparse_coder
from pipeline.subject import transfers
from pipeline.subject.contexts import pad_contexts
from pipeline.subject.forward import Hookpoint, Subject

CUDA = torch.device("cuda:1")
WHOLE = [(0, [5, 6, 7, 8]), (1, [9, 10, 11, 12])]
PADDED = [(0, [5, 6, 7, 8]), (1, [9, 10])]


@pytest.mark.parametrize("contexts", [WHOLE, PADDED], ids=["whole contexts", "padding left out"])
def test_a_pass_is_started_without_looking_at_a_value(tiny_subject, tmp_path, monkeypatch, contexts):
    # A tensor on `meta` has no values: to ask for one (item, nonzero, a mask, a branch, cpu) is an error. Of
    # transformers' own code one look at the positions is left out, which it takes before the first layer.
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda positions: None)
    meta = torch.device("meta")
    subject = Subject(AutoModel.from_pretrained(tiny_subject), "tiny", meta)
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae", n_features=64)).to(meta)
    readers = {
        "one": Reader(coder, Hookpoint("layers.0")),
        "other": Reader(coder, Hookpoint("layers.1", "input", centred=True)),
    }
    firings = run_batch(pad_contexts(contexts, 8), subject, readers)
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        next(firings())  # here, at last, it is waited for


class Recorded:
    """Streams that write down what they are asked."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def stream(self, name: str) -> Any:
        return SimpleNamespace(
            record_event=lambda: self.said.append(f"{name} records") or "event",
            wait_event=lambda event: self.said.append(f"{name} waits for {event}"),
            synchronize=lambda: self.said.append(f"{name} is waited for"),
        )

    @contextmanager
    def running_on(self, stream: Any) -> Any:
        self.said.append("enter")
        yield
        self.said.append("leave")


def test_what_is_encoded_waits_on_a_stream_of_its_own_for_the_passes_before_it(monkeypatch):
    recorded = Recorded()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: recorded.stream("passes"))
    monkeypatch.setattr(torch.cuda, "stream", recorded.running_on)
    monkeypatch.setattr(transfers, "_own_stream", lambda device: recorded.stream("own"))
    block = transfers.beside_passes(CUDA)
    assert recorded.said == ["passes records"]  # when the pass has been started, not when the block is run
    with block:
        recorded.said.append("encodes")
    assert recorded.said[1:] == ["enter", "own waits for event", "encodes", "leave"]


def test_columns_are_fetched_with_one_wait_into_pinned_memory(monkeypatch):
    recorded, made = Recorded(), []

    def empty_like(value: Any, *, device: str, pin_memory: bool) -> Any:
        assert (device, pin_memory) == ("cpu", True)
        made.append(SimpleNamespace(copy_=lambda value, non_blocking: recorded.said.append(f"{non_blocking}")))
        return made[-1]

    monkeypatch.setattr(torch, "empty_like", empty_like)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: recorded.stream("own"))
    assert transfers.fetch([SimpleNamespace(device=CUDA)] * 3) == made
    assert recorded.said == ["True"] * 3 + ["own is waited for"]
