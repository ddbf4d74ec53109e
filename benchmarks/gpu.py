"""How close caching comes to a bare forward pass and product on a GPU, in wall-clock time.

Like `benchmarks.caching` on a CPU, with the demo's model and with a model of random weights in the shape of Llama
3.1 8B, whose SAEs have up to 131,072 features. Weights do not change the cost of a pass, and all SAEs are set to
fire about equally often. It needs an NVIDIA GPU with 60 GB:

    LATENTLAKE_DEVICE=cuda python -m benchmarks.gpu

`python -m benchmarks.local_model --device cuda` measures the speed of a local LLM on a GPU.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from transformers import AutoModel, LlamaConfig

from benchmarks.caching import (
    ALL,
    Pair,
    coders_of,
    read_states,
    take_turns,
    tokens_per_s,
    turns_of,
    usual_paces,
    write_corpus,
)
from benchmarks.figures import Figure, measured, publish
from pipeline.config import Config
from pipeline.firings.forward import Reader, context_batches
from pipeline.lake import Lake
from pipeline.models.load import loading
from pipeline.sae import SparseCoder, TopK
from pipeline.sources import open_sources
from pipeline.subject.forward import Hookpoint, Subject

SHARD_TOKENS, LARGE_SHARDS = 140_000, 2
"""Tokens per shard, about as in config/llama3-8b.yaml, and the number of shards that the large model reads."""

LARGE = LlamaConfig(
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    vocab_size=128256,
)
"""Llama 3.1 8B, except for its weights and the scaling of its positions."""

LARGE_PLACE = Hookpoint("layers.15")
"""Half of the model's layers are run."""

PASS_PARAMETERS = 16 * 218_103_808
"""Parameters of these layers: each has 42 million weights in attention and 176 million in the MLP."""

KINDS = ("topk", "jumprelu", "relu")
LARGE_WIDTHS = (32_768, 131_072)
LARGE_K = 64


def main() -> None:
    """Measure, print, write `results/gpu.json`."""
    if not torch.cuda.is_available():
        print("gpu: torch finds no GPU, so there is nothing to measure")
        return
    with tempfile.TemporaryDirectory() as folder:
        config = write_corpus(Path(folder), "cuda", SHARD_TOKENS)
        small, usual = measured(take_turns, config).result, measured(usual_paces, config).result
        figures = [*_figures("small", "the demo's model", small)]
        figures.append(
            Figure(
                "small_usual_tokens_per_s",
                tokens_per_s(usual),
                "1/s",
                better="higher",
                note="the demo's whole model, dense latents of 4,096 features, non-zeros of them; nothing written",
            )
        )
        publish("gpu", figures)
        large, gib = measured(_take_large_turns, config).result
    figures += _figures("8b", "half of an 8B model", large)
    figures.append(Figure("8b_gpu_gib", gib, "GiB", note="peak GPU memory held by torch"))
    publish("gpu", figures)


def _figures(prefix: str, model: str, pairs: Mapping[str, Pair]) -> Iterator[Figure]:
    """The ratio and the speed of each SAE on one model."""
    for name, pair in pairs.items():
        yield Figure(
            f"{prefix}_{name}_ratio",
            pair.ratio("wall_s"),
            "",
            target=0.9,
            better="higher",
            limit=1.0,
            note=f"{model}, share of pass and product, median of {len(pair.store)} turns",
        )
        yield Figure(
            f"{prefix}_{name}_tokens_per_s",
            tokens_per_s(pair.store),
            "1/s",
            better="higher",
            limit=tokens_per_s(pair.bare),
            note="contexts to sorted shards; limit: pass and product"
            + (f" of {len(pairs) - 1} SAEs" if name == ALL else ""),
        )


@torch.inference_mode()
def _take_large_turns(config: Config) -> tuple[dict[str, Pair], float]:
    """The SAEs of the large model in both ways, and the peak GPU memory in GiB."""
    torch.manual_seed(0)
    with torch.device("cuda"), loading("8B, random weights"):  # as a model is loaded otherwise
        model = AutoModel.from_config(LARGE, dtype=torch.bfloat16)
        coder = _random_coder()
    subject = Subject(model, "8B, random weights", torch.device("cuda"))
    reader = Reader(coder, LARGE_PLACE)
    batch = next(context_batches(Lake(config, open_sources(config)), 0))
    coders = coders_of(coder, read_states(subject, reader, batch)[:512], LARGE_WIDTHS)
    return turns_of(config, subject, reader, coders, LARGE_SHARDS), torch.cuda.max_memory_reserved() / 2**30


def _random_coder() -> SparseCoder:
    """A TopK SAE with random directions, as wide as the narrowest one, on the current device."""
    n_features, d_in = LARGE_WIDTHS[0], LARGE.hidden_size
    directions = torch.randn(n_features, d_in) / d_in**0.5
    return SparseCoder(
        hookpoint=None,
        encoder=directions,
        encoder_bias=torch.zeros(n_features),
        decoder=directions,
        activation=TopK(LARGE_K),
    )


if __name__ == "__main__":
    main()
