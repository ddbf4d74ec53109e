"""How likely a causal language model finds a text behind others, in nats."""

from collections.abc import Sequence
from typing import Any

import torch

from pipeline.config import SubjectConfig
from pipeline.models.load import load_tokenizer

_LOGIT_BYTES = 1 << 28
"""Bound on the logits of one forward pass; no setting, as how rows are cut decides their last digits."""


class Surprise:
    """A causal language model (with its LM head) that reads texts behind prefixes."""

    def __init__(self, model: Any, subject: SubjectConfig) -> None:
        self._model = model
        self._tokenizer = load_tokenizer(subject)

    @torch.inference_mode()
    def log_probabilities(self, prefixes: Sequence[str], text: str) -> list[float]:
        """log p(text | prefix) for each prefix: the sum over the text's tokens; 0 for a text of blanks.

        Rows are padded at the end, which a causal model does not see.
        """
        encode, own = self._tokenizer, []
        if text.strip():
            own = encode(text, add_special_tokens=False).input_ids
        if not own:
            return [0.0] * len(prefixes)
        # With the tokens that the tokenizer puts before every text.
        before: list[list[int]] = encode(list(prefixes)).input_ids
        length = max(map(len, before)) + len(own)
        at_once = max(1, _LOGIT_BYTES // (4 * length * self._model.config.get_text_config().vocab_size))
        sums: list[float] = []
        for first in range(0, len(before), at_once):
            some = before[first : first + at_once]
            ids = torch.zeros((len(some), length), dtype=torch.long)
            for row, prefix in enumerate(some):
                ids[row, : len(prefix) + len(own)] = torch.tensor([*prefix, *own])
            logits = self._model(input_ids=ids.to(self._model.device), use_cache=False).logits
            for row, prefix in enumerate(some):
                places = slice(len(prefix) - 1, len(prefix) - 1 + len(own))
                said = logits[row, places].float().log_softmax(dim=-1)  # [n_own, n_tokens]
                sums.append(float(said.gather(1, torch.tensor(own, device=said.device)[:, None]).double().sum()))
        return sums
