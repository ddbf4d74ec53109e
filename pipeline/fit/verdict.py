"""What the figures of `sae_fit` say: it fits, or what is wrong and what would fit."""

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.config import SaeConfig
from pipeline.errors import SaeError
from pipeline.fit.measure import Figures
from pipeline.lake import Lake
from pipeline.sae import SparseCoder

_MARGIN = 0.02
"""A place or way whose FVU is lower by more than this fits better. At the layers beside its own the demo's SAE has
0.06 and 0.11 more; what makes no difference to it (BOS, centring) changes it by 0.002."""

_GOOD_FVU = 0.5
"""A place or way is named as the cure up to this FVU: without b_dec the demo's SAE has 1.2 at its own place, and
0.8 to 0.9 at others, which it was not trained on either."""

_L0_FACTOR = 3.0
"""L0 may be so many times off what the files declare, which was found on another corpus."""

_WAYS = {
    "none": "with its input not normalised",
    "average_norm": "with its input scaled to a mean norm of sqrt(d)",
    "token_norm": "with each token scaled to norm sqrt(d)",
    "layer_norm": "with its input layer-normalised",
    "input_bias": "with b_dec on its input the other way",
    "transposed": "with its decoder transposed",
}


def judge(figures: Sequence[Figures], declared: float | None) -> list[bool | None]:
    """Whether each fits: FVU under 1, none lower by the margin, and L0 within the factor of the declared one.

    The first is the config's own. What was measured on fewer tokens than that was far worse on these, and does not
    fit; its FVU is no other's equal. Null where nothing could be measured.
    """
    n_tokens = figures[0].n_tokens
    comparable = [each.fvu for each in figures if each.fvu is not None and each.n_tokens == n_tokens]
    lowest = min(comparable, default=0.0)
    return [
        None
        if each.fvu is None
        else each.n_tokens == n_tokens
        and each.fvu < 1
        and each.fvu <= lowest + _MARGIN
        and _is_declared(each.l0 or 0.0, declared)
        for each in figures
    ]


def declared_l0(coder: SparseCoder) -> float | None:
    """The firings a token that an SAE's files declare: its k, where that is fixed."""
    return coder.declared_l0 or coder.k


def check_fit(lake: Lake, saes: Iterable[SaeConfig]) -> None:
    """Raise SaeError for the first SAE that does not fit, and LakeError if that has not been measured.

    An SAE with `fit: accept` is not checked.
    """
    for sae in saes:
        if sae.fit == "check":
            lake.require("sae_fit", sae=sae.name)
            if is_misfit(lake, sae.name):
                raise SaeError(fit_sentence(lake, sae.name))


def is_misfit(lake: Lake, sae: str) -> bool:
    """Whether an SAE was found not to fit the place that the config says."""
    rows = lake.query("sae_fits", sae=sae)
    return not rows.is_empty() and rows["fits"][0] is False


def fit_sentence(lake: Lake, sae: str) -> str:
    """How an SAE fits its place, and where it does not, what was tried; empty if it has not been measured."""
    rows = lake.query("sae_fits", sae=sae).to_dicts()
    if not rows:
        return ""
    own, *others = rows
    place = f"SAE '{sae}' at '{own['hookpoint']}'"
    if own["fvu"] is None:
        return f"{place}: the corpus has too few tokens to tell whether it fits"
    measured = f"FVU {own['fvu']:.2f}, {own['l0']:.1f} firings a token on {own['n_tokens']:,} tokens{_loss(own)}"
    if own["fits"]:
        beside = next((row for row in others if row["hookpoint"] != own["hookpoint"]), None)
        return f"{place} fits: {measured}" + (f" ({_figure(beside, own)})" if beside else "")
    better = next((row for row in others if row["fits"]), None)
    is_cure = better is not None and better["fvu"] <= _GOOD_FVU
    found = "nothing that was tried fits"
    if better:
        found = f"{_figure(better, own)} {'fits' if is_cure else 'is the best of what was tried, and is not good'}"
    if not _is_declared(own["l0"], own["declared_l0"]):
        measured += f", but its files declare {own['declared_l0']:g}"
    cure = "saes.fit: accept goes on all the same"
    if better and is_cure:
        cure = f"{_cure(better, own)}; {cure}"
    return f"{place} does not fit: {measured}; {found}; tried: {_tried(own, others)}; {cure}"


def _is_declared(l0: float, declared: float | None) -> bool:
    return declared is None or declared / _L0_FACTOR <= l0 <= declared * _L0_FACTOR


def _loss(own: dict[str, Any]) -> str:
    """The share of the model's loss that is recovered, or why it was not measured."""
    if own["loss_recovered"] is None:
        return f"; loss recovered not told: {own['loss_reason']}"
    return f", {own['loss_recovered']:.0%} of the loss recovered"


def _tried(own: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """The FVU of all that was tried; what was far off was measured on some of the tokens alone."""
    near = [_figure(row, own) for row in others if row["n_tokens"] == own["n_tokens"]]
    far = [_figure(row, own) for row in others if row["n_tokens"] != own["n_tokens"]]
    tried = ", ".join(near) or "nothing came near"
    return f"{tried}; far off, on {others[-1]['n_tokens']:,} of the tokens: {', '.join(far)}" if far else tried


def _figure(row: dict[str, Any], own: dict[str, Any]) -> str:
    """In what a row that was tried differs from the config's own, and its FVU."""
    words = {
        "hookpoint": row["hookpoint"],
        "prepend_bos": "with BOS" if row["prepend_bos"] else "without BOS",
        "is_centred": "centred" if row["is_centred"] else "not centred",
        "normalisation": _WAYS.get(row["normalisation"]),
        "weights": _WAYS.get(row["weights"]),
    }
    return f"{words[_changed(row, own)]} {row['fvu']:.2f}"


def _cure(row: dict[str, Any], own: dict[str, Any]) -> str:
    """What makes it so: a key of the config, or other files."""
    match _changed(row, own):
        case "hookpoint":
            return f"set saes.hookpoint to {row['hookpoint']}"
        case "prepend_bos":
            return f"set corpus.prepend_bos to {str(row['prepend_bos']).lower()}"
        case "is_centred":
            return f"set saes.centred to {str(row['is_centred']).lower()}"
        case _:
            return "its weights are not what its format says: correct its files, or saes.format"


def _changed(row: dict[str, Any], own: dict[str, Any]) -> str:
    """The one column by which a row that was tried differs from the config's own."""
    ways = ("hookpoint", "prepend_bos", "is_centred", "normalisation", "weights")
    return next(name for name in ways if row[name] != own[name])
