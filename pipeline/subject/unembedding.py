"""From a decoder direction to the logits: the final norm's gain, the unembedding, and which directions take it.

The two tensors are read from the model's safetensors files by name, without loading the model. If the files lack
them (a GGUF file, old checkpoints), transformers loads the model.
"""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.hub import cached_file

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError
from pipeline.models.load import find_files, load_subject_config, loading, locate
from pipeline.subject.forward import Hookpoint, load_subject
from pipeline.subject.hookpoints import names_of_hookpoints, skeleton

LogitPath = Literal["residual", "direct", "none"]

_INDEX, _WEIGHTS = "model.safetensors.index.json", "model.safetensors"
_HEADS = ("lm_head.weight", "embed_out.weight")
"""Names in checkpoints of an unembedding that is not tied to the embedding."""

_WRITERS = frozenset({"c_proj", "dense", "dense_4h_to_h", "down_proj", "fc2", "o_proj", "out_proj"})
"""Last module of an attention or MLP block: its output is the block's."""


class Unembedding(NamedTuple):
    """How a direction of the residual stream moves the logits, up to the final norm's positive scale.

    Attributes:
        weight: [n_tokens, d_model] in the dtype of the files, one row per token.
        gain: The final norm's, float32 [d_model].
        centres: Whether the final norm subtracts its input's mean (LayerNorm does, RMSNorm does not).
    """

    weight: Tensor
    gain: Tensor
    centres: bool

    def project(self, directions: Tensor) -> Tensor:
        """Directions [n, d_model] as they reach the unembedding: float32 [n, d_model]."""
        directions = directions.float()
        if self.centres:
            directions = directions - directions.mean(dim=1, keepdim=True)
        return directions * self.gain


def load_unembedding(subject: SubjectConfig, device: str) -> Unembedding:
    """The subject model's unembedding and final norm. Raises SubjectError if it has none."""
    model = skeleton(subject)
    norm_path = _final_norm(model, subject.model)
    tensors = _read_safetensors(subject, model, norm_path)
    if tensors is None:
        model, weight = _load_model(subject, device)
        return Unembedding(weight, *_measure(model.get_submodule(norm_path), weight.shape[1]))
    weight = tensors.pop("unembedding")
    norm = deepcopy(model.get_submodule(norm_path)).to_empty(device="cpu").float()
    norm.load_state_dict(tensors)
    return Unembedding(weight, *_measure(norm, weight.shape[1]))


def path_to_logits(subject: SubjectConfig, hookpoint: Hookpoint, width: int) -> LogitPath:
    """How directions of this width at a hookpoint reach the logits.

    `residual`: the embedding or a whole layer, so a direction of the residual stream. `direct`: an attention or
    MLP block, whose output is added to it. `none`: anything else (inside a block, a norm, a block whose output is
    normalised before it is added), where the unembedding does not apply.
    """
    model = skeleton(subject)
    embedding = model.get_input_embeddings()
    if width != embedding.weight.shape[1]:
        return "none"
    if (name := names_of_hookpoints(subject).get(hookpoint._replace(centred=False))) is not None:
        if name.startswith(("embed", "resid")):
            return "residual"
        return "direct" if name.startswith(("attn_out", "mlp_out")) else "none"
    if model.get_submodule(hookpoint.module) is embedding:
        return "residual"
    found = re.fullmatch(r"((?:\w+\.)*?\w+\.\d+)(?:\.(\w+))?(?:\.(\w+))?", hookpoint.module)
    if found is None:
        return "none"
    layer, block, writer = found.groups()
    if block is None:
        return "residual"
    is_normalised = hasattr(model.get_submodule(layer), "post_feedforward_layernorm")
    is_block = any(True for _ in model.get_submodule(f"{layer}.{block}").children())
    # Directions of a block's input are not directions of its output.
    writes = (writer is None or writer in _WRITERS) and hookpoint.reads == "output"
    return "direct" if is_block and writes and not is_normalised else "none"


def _final_norm(model: PreTrainedModel, name: str) -> str:
    """The path of the norm after all layers: the last one outside any list of modules."""
    norms = [
        path
        for path, module in model.named_modules()
        if "Norm" in type(module).__name__ and not re.search(r"\.\d+(\.|$)", path)
    ]
    if not norms:
        raise SubjectError(f"subject model '{name}' has no norm after its layers, which its logits require")
    last: str = norms[-1]
    return last


def _read_safetensors(subject: SubjectConfig, model: PreTrainedModel, norm_path: str) -> dict[str, Tensor] | None:
    """The norm's tensors by name, and `unembedding`; None if the files lack them."""
    stored = _stored_tensors(subject)
    embedding = model.get_input_embeddings()
    embedding_path = next(path for path, module in model.named_modules() if module is embedding)
    wanted = {name: [f"{norm_path}.{name}"] for name in model.get_submodule(norm_path).state_dict()}
    wanted["unembedding"] = [f"{embedding_path}.weight"] if _is_tied(subject) else list(_HEADS)
    found = {}
    for name, keys in wanted.items():
        for key in (*keys, *(f"{model.base_model_prefix}.{key}" for key in keys)):
            if key in stored:
                with safe_open(stored[key], framework="pt") as file:
                    found[name] = file.get_tensor(key)
    return found if found.keys() == wanted.keys() else None


def _stored_tensors(subject: SubjectConfig) -> dict[str, str]:
    """The safetensors file of each tensor of a model in a folder or on the hub; empty if it has none."""
    location = locate(subject)
    if location.gguf_file is not None:
        return {}

    def find(file: str) -> str | None:
        found: str | None = cached_file(
            location.name, file, revision=location.revision, _raise_exceptions_for_missing_entries=False
        )
        return found

    with loading(subject.model):
        index, single = find(_INDEX), find(_WEIGHTS)
        if index is not None:
            shard_of = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"]
            paths = {shard: find(shard) for shard in set(shard_of.values())}
            return {key: path for key, shard in shard_of.items() if (path := paths[shard]) is not None}
        if single is None:
            return {}
        with safe_open(single, framework="pt") as file:
            return dict.fromkeys(file.keys(), single)


def _is_tied(subject: SubjectConfig) -> bool:
    return bool(getattr(load_subject_config(subject), "tie_word_embeddings", False))


def _load_model(subject: SubjectConfig, device: str) -> tuple[PreTrainedModel, Tensor]:
    """The base model as transformers loads it, and its unembedding; a tied one needs no LM head."""
    if _is_tied(subject):
        model: PreTrainedModel = load_subject(subject, device).model
        return model, model.get_input_embeddings().weight.detach()
    location, config = find_files(subject), load_subject_config(subject)
    with loading(subject.model):
        causal, report = AutoModelForCausalLM.from_pretrained(
            location.name, config=config, dtype="auto", output_loading_info=True, **location.arguments
        )
    if report["missing_keys"]:
        raise SubjectError(f"subject model '{subject.model}' has no unembedding in its files")
    return causal.base_model, causal.get_output_embeddings().weight.detach()


@torch.inference_mode()
def _measure(norm: nn.Module, width: int) -> tuple[Tensor, bool]:
    """A norm's gain, float32 [d_model], and whether it subtracts the mean.

    Both are measured, the gain on a vector of mean 0 and variance 1: some norms store it minus 1 (Gemma), some
    have none (OLMo), and some LayerNorms are classes of their own (Cohere).
    """
    like = next(norm.parameters(), torch.empty(0))
    signs = torch.ones(width, dtype=like.dtype, device=like.device)
    signs[1::2] = -1
    gain = signs * (norm(signs) - norm(-signs)) / 2
    moved = norm(signs + 2) - norm(signs)  # by an RMSNorm, about as far as the gain is long
    return gain.float().cpu(), bool(moved.norm() < gain.norm() / 10)
