"""Writes SAEs with the libraries that own their formats, and what these make of an input.

Runs in an environment of its own, which has the libraries and nothing of latentlake: `owners.py LIBRARY FOLDER`.
Each case is a folder with the SAE's own files in `layers.1`, and `expected.safetensors` with inputs, firings
[n_tokens, n] and, where the library decodes, outputs.
"""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

N_FEATURES, WIDTH, OUT, K, N_TOKENS = 40, 24, 18, 5, 60
Case = Callable[[Path], Iterator[Any]]
"""Writes the SAE's files into a folder; gives inputs, firings and outputs or None."""


def inputs() -> Any:
    import torch

    generator = torch.Generator().manual_seed(3)
    norms = 1 + torch.rand(N_TOKENS, 1, generator=generator)
    return norms * (torch.randn(N_TOKENS, WIDTH, generator=generator) + 0.25)


def randomise(module: Any, **scales: float) -> None:
    """Random parameters by their names' order; biases are not 0."""
    import torch

    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            values = torch.randn(parameter.shape, generator=generator) / WIDTH**0.5
            if name == "threshold":
                values = values.abs() + 0.2
            parameter.copy_(values * scales.get(name, 1.0))


# SAELens ----------------------------------------------------------------------------------------------


def saelens(architecture: str, folder: Path, **config: Any) -> Any:
    from sae_lens import SAE

    transcodes = architecture.endswith("transcoder")
    sizes = {"d_in": WIDTH, "d_sae": N_FEATURES, "metadata": {"hook_name": "blocks.1.hook_resid_post"}}
    if transcodes:
        sizes |= {"d_out": OUT, "apply_b_dec_to_input": False}
    sae = SAE.from_dict({"architecture": architecture, **sizes, **config})
    randomise(sae)
    sae.save_model(folder)
    yield (x := inputs())
    yield sae.encode(x)
    yield sae(x)


def saelens_hook_z(folder: Path) -> Any:
    from sae_lens import SAE

    config = {"d_in": WIDTH, "d_sae": N_FEATURES, "metadata": {"hook_name": "blocks.1.attn.hook_z"}}
    sae = SAE.from_dict({"architecture": "standard", "reshape_activations": "hook_z", **config})
    randomise(sae)
    sae.save_model(folder)
    yield (x := inputs())
    yield sae.encode(x.unflatten(1, (4, -1)))
    yield sae(x.unflatten(1, (4, -1))).flatten(1)


def saelens_average_norm(folder: Path, *, is_checkpoint: bool = False) -> Any:
    """The factor is in no file of an SAE; it is written into the config as the registry names it.

    A checkpoint of training has it beside.
    """
    from sae_lens import SAE
    from sae_lens.training.activation_scaler import ActivationScaler

    config = {"d_in": WIDTH, "d_sae": N_FEATURES, "normalize_activations": "expected_average_only_in"}
    sae = SAE.from_dict({"architecture": "jumprelu", **config})
    randomise(sae)
    sae.save_model(folder)
    if is_checkpoint:
        ActivationScaler(1.75).save(str(folder / "activation_scaler.json"))
    else:
        cfg = json.loads((folder / "cfg.json").read_text())
        (folder / "cfg.json").write_text(json.dumps({**cfg, "norm_scaling_factor": 1.75}))
    sae.fold_activation_norm_scaling_factor(1.75)
    yield (x := inputs())
    yield sae.encode(x)
    yield sae(x)


def saelens_trained(folder: Path, *, is_checkpoint: bool, matryoshka: bool = False) -> Any:
    """A batchtopk, which SAELens saves as a jumprelu; its checkpoint is held to the same firings."""
    import torch
    from sae_lens import (
        SAE,
        BatchTopKTrainingSAE,
        BatchTopKTrainingSAEConfig,
        MatryoshkaBatchTopKTrainingSAE,
        MatryoshkaBatchTopKTrainingSAEConfig,
    )

    sizes = {"d_in": WIDTH, "d_sae": N_FEATURES, "k": K}
    if matryoshka:
        sae = MatryoshkaBatchTopKTrainingSAE(
            MatryoshkaBatchTopKTrainingSAEConfig(**sizes, matryoshka_widths=[10, N_FEATURES])
        )
    else:
        sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**sizes))
    randomise(sae)
    sae.topk_threshold = torch.tensor(0.3, dtype=torch.double)
    inference = folder.parent / "inference"
    (sae.save_model if is_checkpoint else sae.save_inference_model)(folder)
    sae.save_inference_model(inference)
    sae = SAE.load_from_disk(inference)
    yield (x := inputs())
    yield sae.encode(x)
    yield sae(x)


def saelens_old(folder: Path, architecture: str = "standard", **config: Any) -> Any:
    """A config as SAELens wrote it before 6.0, read by SAELens of today."""
    import torch
    from sae_lens import SAE
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(4)
    shapes = {"W_enc": (WIDTH, N_FEATURES), "W_dec": (N_FEATURES, WIDTH)}
    shapes |= {"b_enc": (N_FEATURES,), "b_dec": (WIDTH,)}
    tensors = {name: torch.randn(shape, generator=generator) / WIDTH**0.5 for name, shape in shapes.items()}
    folder.mkdir(parents=True)
    save_file({**tensors, "scaling_factor": torch.ones(N_FEATURES)}, folder / "sae_weights.safetensors")
    old = {"d_in": WIDTH, "d_sae": N_FEATURES, "dtype": "float32", "device": "cpu", "model_name": "gpt2-small"}
    old |= {"hook_point": "blocks.1.hook_resid_pre", "hook_point_layer": 1, "finetuning_scaling_factor": False}
    (folder / "cfg.json").write_text(json.dumps({**old, "architecture": architecture, **config}))
    sae = SAE.load_from_disk(folder)
    yield (x := inputs())
    yield sae.encode(x)
    yield sae(x)


# Files of others in their true layouts, as SAELens' loaders read them -------------------------------------

LINEAR = {
    "encoder.weight": (N_FEATURES, WIDTH),
    "encoder.bias": (N_FEATURES,),
    "decoder.weight": (WIDTH, N_FEATURES),
    "decoder.bias": (WIDTH,),
}
GOODFIRE = {name.replace(".", "_linear."): shape for name, shape in LINEAR.items()}
GEMMA = {
    "w_enc": (WIDTH, N_FEATURES),
    "w_dec": (N_FEATURES, WIDTH),
    "b_enc": (N_FEATURES,),
    "b_dec": (WIDTH,),
    "threshold": (N_FEATURES,),
}
GEMMA_2 = {name.replace("w_", "W_"): shape for name, shape in GEMMA.items()}
AFFINE = {**GEMMA, "w_dec": (N_FEATURES, OUT), "b_dec": (OUT,), "affine_skip_connection": (WIDTH, OUT)}
QWEN = {"W_enc": (N_FEATURES, WIDTH), "W_dec": (WIDTH, N_FEATURES), "b_enc": (N_FEATURES,), "b_dec": (WIDTH,)}
TRACED = {**QWEN, "W_dec": (N_FEATURES, WIDTH)}
LLAMA = {"d_model": WIDTH, "d_sae": N_FEATURES, "jump_relu_threshold": 0.3, "top_k": 50}
LLAMA |= {"hook_point_in": "blocks.1.hook_resid_post"}
LLAMA |= {"dataset_average_activation_norm": {"in": 3.0, "out": 3.0}, "sparsity_include_decoder_norm": False}
R1 = {"d_model": WIDTH, "expansion_factor": 2, "hook_point_in": "blocks.1.hook_resid_post"}
R1 |= {"sparsity_include_decoder_norm": False}  # SAELens' loaders of both do not know it
HEADS = "gpt2-small_L1_Hcat_z_lr1.20e-03_v9.pt"
KISSANE = {"act_size": WIDTH, "dict_size": N_FEATURES, "act_name": "blocks.1.attn.hook_z"}
WANDB = {"d_model": {"value": WIDTH}, "d_feature": {"value": N_FEATURES}, "batch_size": {"value": 8}}


HOOKS = {"model_name": "tiny", "feature_input_hook": "mlp.hook_in", "feature_output_hook": "hook_mlp_out"}


def loaded(
    loader: str,
    repository: str,
    path: str,
    weights: str,
    shapes: dict[str, tuple[int, ...]],
    folder: Path,
    *,
    configs: dict[str, Any] | None = None,
    factor: float | None = None,
) -> Any:
    import numpy as np
    import torch
    from sae_lens import SAE
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from safetensors.torch import load_file, save_file

    generator = torch.Generator().manual_seed(4)
    tensors = {name: torch.randn(shape, generator=generator) / WIDTH**0.5 for name, shape in shapes.items()}
    if "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"].abs() + 0.1
    root = folder / repository
    file = root / weights
    file.parent.mkdir(parents=True)
    match file.suffix:
        case ".npz":
            np.savez(file, **{name: tensor.numpy() for name, tensor in tensors.items()})
        case ".safetensors":
            save_file(tensors, file)
        case _:
            torch.save(tensors, file)
    for name, config in (configs or {}).items():
        (root / name).write_text(json.dumps(config))  # JSON is YAML, too
    (folder.parent / "path.txt").write_text(f"{repository}/{path}")

    def found(repo_id: str, filename: str, subfolder: str = "", **_: Any) -> str:
        local = folder / repo_id / subfolder / filename
        if not local.exists():
            raise loaders.EntryNotFoundError(filename)
        return str(local)

    loaders.hf_hub_download = found
    loaders.get_safetensors_tensor_shapes = lambda repo, name: {
        key: list(tensor.shape) for key, tensor in load_file(folder / repo / name).items()
    }
    sizes = {"d_in": WIDTH, "d_sae": N_FEATURES, "dtype": "float32"}
    if loader == "gemma_2_transcoder":
        sizes["d_out"] = WIDTH
    load = loaders.NAMED_PRETRAINED_SAE_LOADERS[loader]
    config, state, _ = load(repository, path, "cpu", False, sizes)
    if loader.startswith("llama_scope") and loader != "llama_scope_r1_distill":
        factor = WIDTH**0.5 / 3.0  # as the registry has it, from the same average
    sae = SAE.from_dict(loaders.handle_config_defaulting({**config, "device": "cpu"}))
    sae.load_state_dict(state)
    if "embedding" in path:  # of the stored embeddings, as the decoder, which alone it multiplies
        sae.b_dec.data *= WIDTH**0.5
    if factor:
        sae.fold_activation_norm_scaling_factor(factor)
    yield (x := inputs())
    if config.get("reshape_activations") == "hook_z":
        x = x.unflatten(1, (4, -1))
    yield sae.encode(x)
    yield sae(x).reshape(N_TOKENS, -1)


# dictionary_learning ----------------------------------------------------------------------------------


def dictionary(name: str, folder: Path, *, with_config: bool = True) -> Any:
    import torch
    from dictionary_learning import dictionary as classes
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    made = {
        "AutoEncoder": lambda: classes.AutoEncoder(WIDTH, N_FEATURES),
        "AutoEncoderNew": lambda: classes.AutoEncoderNew(WIDTH, N_FEATURES),
        "GatedAutoEncoder": lambda: classes.GatedAutoEncoder(WIDTH, N_FEATURES),
        "JumpReluAutoEncoder": lambda: classes.JumpReluAutoEncoder(WIDTH, N_FEATURES),
        "AutoEncoderTopK": lambda: AutoEncoderTopK(WIDTH, N_FEATURES, K),
        "BatchTopKSAE": lambda: BatchTopKSAE(WIDTH, N_FEATURES, K),
        "MatryoshkaBatchTopKSAE": lambda: MatryoshkaBatchTopKSAE(WIDTH, N_FEATURES, K, [10, N_FEATURES - 10]),
    }
    coder = made[name]()
    randomise(coder)
    if "threshold" in dict(coder.named_buffers()):
        coder.threshold.fill_(0.3)
    folder.mkdir(parents=True)
    torch.save({key: value.cpu() for key, value in coder.state_dict().items()}, folder / "ae.pt")
    if with_config:
        trainer = {"dict_class": name, "layer": 1, "lm_name": "gpt2", "submodule_name": "resid_post_layer_1"}
        trainer |= {"k": K} if "TopK" in name else {}
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
    yield (x := inputs())
    yield coder.encode(x)
    yield coder(x)


# sparsify ---------------------------------------------------------------------------------------------


def sparsified(folder: Path, **config: Any) -> Any:
    import torch
    from sparsify import SparseCoder, SparseCoderConfig

    coder = SparseCoder(WIDTH, SparseCoderConfig(num_latents=N_FEATURES, **{"k": K, **config}))
    randomise(coder)
    coder.save_to_disk(folder)
    yield (x := inputs())
    kept = coder.encode(x)
    yield torch.zeros(N_TOKENS, N_FEATURES).scatter(1, kept.top_indices, kept.top_acts)
    yield coder(x).sae_out


# circuit-tracer ---------------------------------------------------------------------------------------


def traced(folder: Path, *, jumps: bool = False, skips: bool = False, k: int | None = None) -> Any:
    import torch
    from circuit_tracer.transcoder.activation_functions import JumpReLU, TopK
    from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder

    function = JumpReLU(torch.rand(N_FEATURES) / 2) if jumps else TopK(k) if k else torch.nn.ReLU()
    made = {"layer_idx": 1, "skip_connection": skips, "device": torch.device("cpu"), "dtype": torch.float32}
    coder = SingleLayerTranscoder(WIDTH, N_FEATURES, function, **made)
    randomise(coder, **{"activation_function.threshold": 1.0})
    if jumps:
        function.threshold.data = function.threshold.data.abs() + 0.1
    folder.mkdir(parents=True)
    coder.to_safetensors(str(folder / "layer_1.safetensors"))
    out = "feature_output_hook: hook_mlp_out\n" + (f"activation: topk\nk: {k}\n" if k else "")
    (folder / "config.yaml").write_text("model_name: tiny\nfeature_input_hook: mlp.hook_in\n" + out)
    yield (x := inputs())
    yield (firings := coder.encode(x))
    yield coder.decode(firings, x)


CASES: dict[str, dict[str, Case]] = {
    "sae_lens": {
        "standard": partial(saelens, "standard"),
        "standard without b_dec": partial(saelens, "standard", apply_b_dec_to_input=False),
        "standard layer_norm": partial(saelens, "standard", normalize_activations="layer_norm"),
        "standard constant_norm": partial(saelens, "standard", normalize_activations="constant_norm_rescale"),
        "topk": partial(saelens, "topk", k=K),
        "topk rescaled": partial(saelens, "topk", k=K, rescale_acts_by_decoder_norm=True),
        "jumprelu": partial(saelens, "jumprelu"),
        "gated": partial(saelens, "gated"),
        "transcoder": partial(saelens, "transcoder"),
        "skip_transcoder": partial(saelens, "skip_transcoder"),
        "jumprelu_transcoder": partial(saelens, "jumprelu_transcoder"),
        "jumprelu_skip_transcoder": partial(saelens, "jumprelu_skip_transcoder"),
        "hook_z": saelens_hook_z,
        "average norm": saelens_average_norm,
        "average norm of a checkpoint": partial(saelens_average_norm, is_checkpoint=True),
        "batchtopk": partial(saelens_trained, is_checkpoint=False),
        "batchtopk checkpoint": partial(saelens_trained, is_checkpoint=True),
        "matryoshka": partial(saelens_trained, is_checkpoint=False, matryoshka=True),
        "matryoshka checkpoint": partial(saelens_trained, is_checkpoint=True, matryoshka=True),
        "old": partial(saelens_old, activation_fn_str="relu", normalize_activations=False),
        "old layer_norm": partial(saelens_old, normalize_activations="layer_norm", apply_b_dec_to_input=False),
        "old topk": partial(saelens_old, activation_fn_str="topk", activation_fn_kwargs={"k": K}),
    },
    "sae_lens.loading": {
        "gemma_scope": partial(
            *(loaded, "gemma_2", "google/gemma-scope-2b-pt-res", "layer_9/width_16k/average_l0_88"),
            *("layer_9/width_16k/average_l0_88/params.npz", GEMMA_2),
        ),
        "gemma_scope embedding": partial(
            *(loaded, "gemma_2", "google/gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_6"),
            *("embedding/width_4k/average_l0_6/params.npz", GEMMA_2),
        ),
        "gemma_scope transcoder": partial(
            *(loaded, "gemma_2_transcoder", "google/gemma-scope-2b-pt-transcoders"),
            *("layer_9/width_16k/average_l0_8", "layer_9/width_16k/average_l0_8/params.npz", GEMMA_2),
        ),
        "gemma_scope_2": partial(
            *(loaded, "gemma_3", "google/gemma-scope-2-270m-pt", "resid_post/layer_9_width_16k_l0_big"),
            *("resid_post/layer_9_width_16k_l0_big/params.safetensors", GEMMA),
        ),
        "gemma_scope_2 affine": partial(
            *(loaded, "gemma_3", "google/gemma-scope-2-270m-pt", "transcoder/layer_9_width_16k_l0_big_affine"),
            *("transcoder/layer_9_width_16k_l0_big_affine/params.safetensors", AFFINE),
        ),
        "llama_scope": partial(
            *(loaded, "llama_scope", "fnlp/Llama3_1-8B-Base-LXR-8x", "L1R", "L1R/checkpoints/final.safetensors"),
            *(LINEAR,),
            configs={"L1R/hyperparams.json": LLAMA},
        ),
        "llama_scope_r1": partial(
            *(loaded, "llama_scope_r1_distill", "fnlp/Llama-Scope-R1-Distill", "L1R"),
            *("L1R/sae_weights.safetensors", {**LINEAR, "log_jumprelu_threshold": (N_FEATURES,)}),
            configs={"L1R/config.json": {**R1, "norm_scaling_factor": 1.25}},
            factor=1.25,
        ),
        "qwen_scope": partial(
            *(loaded, "qwen_scope", f"Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_{K}", "layer1.sae.pt"),
            *("layer1.sae.pt", QWEN),
        ),
        "goodfire": partial(
            *(loaded, "goodfire", "Goodfire/Llama-3.1-8B-Instruct-SAE-l19"),
            *("Llama-3.1-8B-Instruct-SAE-l19.pth", "Llama-3.1-8B-Instruct-SAE-l19.pth", GOODFIRE),
        ),
        "goodfire of qresearch": partial(
            *(loaded, "deepseek_r1", "qresearch/DeepSeek-R1-Distill-Llama-8B-SAE-l19"),
            *("DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt", "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt", LINEAR),
        ),
        "attention_z": partial(
            *(loaded, "connor_rob_hook_z", "ckkissane/attn-saes-gpt2-small-all-layers"),
            *(HEADS, HEADS, {name: shape for name, shape in GEMMA_2.items() if name != "threshold"}),
            configs={HEADS.replace(".pt", "_cfg.json"): KISSANE},
        ),
        "circuit_tracer": partial(
            *(loaded, "mwhanna_transcoder", "mwhanna/qwen3-4b-transcoders"),
            *("layer_1.safetensors", "layer_1.safetensors", TRACED),
            configs={"wandb-config.yaml": WANDB, "config.yaml": HOOKS},
        ),
    },
    "dictionary_learning": {
        name: partial(dictionary, name)
        for name in (
            *("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder"),
            *("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"),
        )
    }
    | {
        f"{name} without a config": partial(dictionary, name, with_config=False)
        for name in (
            *("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder"),
            "MatryoshkaBatchTopKSAE",
        )
    },
    "sparsify": {
        "topk": sparsified,
        "groupmax": partial(sparsified, activation="groupmax", k=8),
        "transcoder": partial(sparsified, transcode=True),
        "skip transcoder": partial(sparsified, transcode=True, skip_connection=True),
    },
    "circuit_tracer": {"topk": partial(traced, k=K)}
    | {
        f"{'jumprelu' if jumps else 'relu'}{' skip' if skips else ''}": partial(traced, jumps=jumps, skips=skips)
        for jumps in (False, True)
        for skips in (False, True)
    },
}


def main(library: str, root: str) -> None:
    from safetensors.torch import save_file

    for name, case in CASES[library].items():
        folder = Path(root) / name
        found = dict(zip(("x", "firings", "output"), case(folder / "layers.1"), strict=True))
        tensors = {key: value.detach().contiguous().clone() for key, value in found.items()}
        save_file(tensors, folder / "expected.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
