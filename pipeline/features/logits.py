"""The tokens that a feature promotes and suppresses: its decoder direction through the unembedding.

The logit lens on a direction d (nostalgebraist 2020; the post's "logit weights"): W_U diag(g) d, with g the gain
of the final norm; where that norm takes its input's mean away (LayerNorm), so is the mean of d. The mean over the
vocabulary is subtracted, which changes no probability. A logit is per unit of activation, up to the norm's scale,
a positive factor that depends on the context. The effect of later layers is ignored.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.features.weights import of_weights
from pipeline.lake import Lake, Published
from pipeline.models.load import pick_device
from pipeline.progress import progress
from pipeline.sae import load_sae
from pipeline.subject.hookpoints import written_hookpoint
from pipeline.subject.unembedding import Unembedding, load_unembedding, path_to_logits
from pipeline.tables import TABLES

_BLOCK_TOKENS = 8192
_BLOCK_FEATURES = 4096


class Extremes(NamedTuple):
    """The k tokens of the largest values of each row, largest first: int64 and float32 [n, k]."""

    token_ids: Tensor
    values: Tensor


@of_weights
def write_feature_logits(lake: Lake, sae: str) -> Published:
    """Write the tokens that each feature of an SAE promotes and suppresses most.

    If the SAE's directions do not reach the logits (see `path_to_logits`), both lists are null. Figures: the
    path, and the median logit of the first promoted token.
    """
    lake.require("saes", "tokens")
    config, own = lake.config, lake.config.sae(sae)
    coder = load_sae(own)
    decoder = coder.decoder
    hookpoint = written_hookpoint(
        config.subject, own.hookpoint, coder.reads, transcodes=coder.transcodes, target=coder.target
    )
    path = path_to_logits(config.subject, hookpoint, decoder.shape[1])
    columns: list[pa.Array] = [pa.nulls(len(decoder))] * 2
    figures: dict[str, float | int | str] = {"path": path}
    if path != "none":
        texts = lake.query("token_texts")
        unembedding = load_unembedding(config.subject, config.device)
        found = extreme_logits(
            decoder, unembedding, texts.height, config.heuristics.top_tokens, pick_device(config.device)
        )
        is_zero = ~decoder.any(dim=1)
        columns = [listed_tokens(each, texts["text"], is_zero) for each in found]
        figures["median_top_logit"] = round(float(found[0].values[~is_zero, 0].median()), 3)
    names = [[sae] * len(decoder), range(len(decoder)), [path] * len(decoder)]
    rows = pa.table([*map(pa.array, names), *columns], TABLES["feature_logits"].schema.names)
    published = lake.write("feature_logits", rows, sae=sae)
    return replace(published, figures=figures)


@torch.inference_mode()
def extreme_logits(
    decoder: Tensor, unembedding: Unembedding, n_tokens: int, n_listed: int, device: torch.device
) -> tuple[Extremes, Extremes]:
    """The most promoted and the most suppressed of the first n_tokens for each direction of decoder [n, d_model].

    Float32, in blocks of the vocabulary and of features: besides the block, only the extremes so far are kept.
    """
    n_listed = min(n_listed, n_tokens)
    mean = sum(block.double().sum(dim=0) for _, block in _token_blocks(unembedding, n_tokens)) / n_tokens
    shape = (len(decoder), 0)
    empty = Extremes(torch.empty(shape, dtype=torch.int64), torch.empty(shape))
    extremes = {sign: [empty] * -(-len(decoder) // _BLOCK_FEATURES) for sign in (1, -1)}
    n_blocks = -(-n_tokens // _BLOCK_TOKENS)
    with progress(n_blocks, "logits", "blocks") as bar:
        for start, block in _token_blocks(unembedding, n_tokens):
            centred = (block.double() - mean).float().to(device)  # [tokens, d_model]
            for number, directions in enumerate(torch.split(decoder, _BLOCK_FEATURES)):
                logits = unembedding.project(directions).to(device) @ centred.T  # [features, tokens]
                for sign, found in extremes.items():
                    here = (sign * logits).topk(min(n_listed, len(block)), dim=1)
                    found[number] = _larger(found[number], start, here.indices.cpu(), here.values.cpu(), n_listed)
            bar.update(1)
    promoted, suppressed = (
        Extremes(torch.cat([each.token_ids for each in found]), sign * torch.cat([each.values for each in found]))
        for sign, found in extremes.items()
    )
    return promoted, suppressed


def _larger(known: Extremes, start: int, indices: Tensor, values: Tensor, n_listed: int) -> Extremes:
    """The largest of those known and of a block's, whose tokens begin at `start`."""
    if known.values.shape[1] == 0:
        return Extremes(start + indices, values)
    token_ids = torch.cat([known.token_ids, start + indices], dim=1)
    largest = torch.cat([known.values, values], dim=1).topk(min(n_listed, token_ids.shape[1]), dim=1)
    return Extremes(token_ids.gather(1, largest.indices), largest.values)


def _token_blocks(unembedding: Unembedding, n_tokens: int) -> Iterator[tuple[int, Tensor]]:
    """The unembedding's rows in blocks with the first one's token; rows past the vocabulary are padding."""
    for start in range(0, n_tokens, _BLOCK_TOKENS):
        yield start, unembedding.weight[start : min(start + _BLOCK_TOKENS, n_tokens)]


def listed_tokens(extremes: Extremes, texts: pl.Series, is_zero: Tensor) -> pa.Array:
    """A list of (token_id, text, logit) per feature; null if the direction is zero."""
    n_features, n_listed = extremes.token_ids.shape
    token_ids = extremes.token_ids.flatten().numpy()
    tokens = pa.StructArray.from_arrays(
        [
            pa.array(token_ids, pa.int32()),
            texts.gather(token_ids).to_arrow().cast(pa.string()),
            pa.array(extremes.values.flatten().numpy(), pa.float32()),
        ],
        ["token_id", "text", "logit"],
    )
    offsets = pa.array(range(0, n_features * n_listed + 1, n_listed), pa.int32())
    return pa.ListArray.from_arrays(offsets, tokens, mask=pa.array(is_zero.numpy()))
