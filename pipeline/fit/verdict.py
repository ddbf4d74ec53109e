"""What the figures of `sae_fit` mean: the SAE fits, or what is wrong and what would fit."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pipeline.config import SaeConfig
from pipeline.errors import SaeError
from pipeline.lake import Lake

if TYPE_CHECKING:  # who reads the verdict imports no torch
    from pipeline.fit.measure import Figures, Normalisation
    from pipeline.sae import SparseCoder

_MARGIN = 0.02
"""An alternative fits better if its FVU is lower by more than this. For the demo's SAE the adjacent layers are
0.06 and 0.11 higher; what makes no difference to it (BOS, centring) changes the FVU by 0.002."""

_AS_MANY = 1.05
"""A trial fires more than the config's own if its L0 is higher by more than this factor."""

_MUCH_LOWER = 0.6
"""An input that is scaled up and makes an SAE fire more is better if its FVU is at most this share of the own. The
demo's SAE with thresholds (JumpReLU and ReLU, L0 8 to 32) gives 0.62 or more where a right input is scaled up,
however far, and 0.56 or less where one is that is 0.7 of what it should be."""

_SCALED = ("scaled_up", "scaled_down")
"""Inputs times sqrt(2) and divided by it: they give a note, and make nothing a misfit."""

_NOTED = 0.8
"""A scaled input is noted if its FVU is at most this share of the own. Right TopK SAEs (the demo's, and one of an
MLP) have 0.94 or more scaled up, and right ones with thresholds 1.8 or more scaled down. A TopK's input is noted
if it is 0.8 or less of what it should be, or 1.6 to 2 or more."""

_GOOD_FVU = 0.5
"""An alternative is suggested as the cure up to this FVU. Without b_dec, the demo's SAE has 1.2 at its own
hookpoint and 0.8 to 0.9 at others, which it was not trained on either."""

_L0_FACTOR = 3.0
"""L0 may differ by this factor from the declared one, which was measured on another corpus."""

_LIKE_DECLARED = 0.1
"""L0 is as declared if it differs by less than this share."""

_ACCEPTED = "accepted in the config (saes.fit: accept)"

_WAYS = {
    "none": "with its input not normalised",
    "average_norm": "with its input scaled to a mean norm of sqrt(d)",
    "token_norm": "with each token scaled to norm sqrt(d)",
    "layer_norm": "with its input layer-normalised",
    "scaled_up": "with its input times 1.41",
    "scaled_down": "with its input times 0.71",
    "input_bias": "with the opposite use of b_dec on its input",
    "transposed": "with its decoder transposed",
}


def judge(
    figures: "Sequence[Figures]", normalisations: "Sequence[Normalisation]", declared: float | None
) -> list[bool | None]:
    """Whether each trial fits: FVU below 1, none lower by more than the margin, and L0 close to the declared one.

    The first trial is the config's own. A trial that cannot be compared with it does not fit: one on fewer tokens,
    which was far worse on these, one that is only noted, or one that had only to fire more
    (`_had_only_to_fire_more`). Null if nothing could be measured.
    """
    own = figures[0]
    are_compared = [
        each.fvu is not None
        and each.n_tokens == own.n_tokens
        and normalisation not in _SCALED
        and not _had_only_to_fire_more(each, normalisation, own, declared)
        for each, normalisation in zip(figures, normalisations, strict=True)
    ]
    compared = [each.fvu for each, is_one in zip(figures, are_compared, strict=True) if is_one]
    lowest = min((fvu for fvu in compared if fvu is not None), default=0.0)
    return [
        None
        if each.fvu is None
        else is_compared
        and each.fvu < 1
        and each.fvu <= lowest + _MARGIN
        and _is_declared(each.l0 or 0.0, declared)
        for each, is_compared in zip(figures, are_compared, strict=True)
    ]


def _had_only_to_fire_more(
    each: "Figures", normalisation: "Normalisation", own: "Figures", declared: float | None
) -> bool:
    """Whether a trial's FVU says nothing of the scale of inputs: it took more firings, and is not much lower.

    An input that is scaled up passes more thresholds, and more firings leave less unexplained, whether the scale
    is right or wrong. An SAE whose own FVU is 1, or whose own L0 is far from the declared one, is wrong anyway.
    Another hookpoint gives other vectors, which more firings of this SAE do not explain: it is compared as it is.
    """
    if normalisation == "own" or each.fvu is None or own.fvu is None:
        return False
    own_l0 = own.l0 or 0.0
    may_fit = own.fvu < 1 and _is_declared(own_l0, declared)
    return may_fit and (each.l0 or 0.0) > _AS_MANY * own_l0 and each.fvu > _MUCH_LOWER * own.fvu


def declared_l0(coder: "SparseCoder") -> float | None:
    """The firings per token that an SAE's files declare, or its k if that is fixed."""
    return coder.declared_l0 or coder.k


def check_fit(lake: Lake, saes: Iterable[SaeConfig]) -> None:
    """Raise SaeError for the first SAE that does not fit, and LakeError if the fit has not been measured.

    An SAE with `fit: accept` is not checked.
    """
    for sae in saes:
        if sae.fit == "check":
            lake.require("sae_fit", sae=sae.name)
            if is_misfit(lake, sae.name):
                raise SaeError(fit_sentence(lake, sae.name))


def is_misfit(lake: Lake, sae: str) -> bool:
    """Whether an SAE was found not to fit its hookpoint in the config."""
    return bool(misfit_sentence(lake.query("sae_fits", sae=sae).to_dicts()))


def misfits_in(lake: Lake) -> dict[str, str]:
    """The sentence about each SAE that does not fit its hookpoint, by its name."""
    return misfit_sentences(lake.query("sae_fits").to_dicts(), lake.config.saes)


def misfit_sentences(rows: Iterable[dict[str, Any]], saes: Iterable[SaeConfig]) -> dict[str, str]:
    """The sentence about each of some SAEs that does not fit its hookpoint, by its name.

    Whatever shows such an SAE says this sentence.

    Args:
        rows: Those of `sae_fits`, of every SAE.
        saes: The SAEs, as the config has them.
    """
    by_sae = {name: list(own) for name, own in groupby(rows, itemgetter("sae"))}
    found = {sae.name: misfit_sentence(by_sae.get(sae.name, []), sae.fit) for sae in saes}
    return {name: sentence for name, sentence in found.items() if sentence}


def misfit_sentence(rows: Sequence[dict[str, Any]], fit: str | None = None) -> str:
    """What does not fit, what would, and whether the config accepts it; empty if the SAE fits or is not measured.

    Args:
        rows: Those of `sae_fits` of one SAE.
        fit: The config's `saes.fit`, if it is known.
    """
    if not rows or rows[0]["fits"] is not False:
        return ""
    own, *others = rows
    measured = f"FVU {own['fvu']:.2f} on this corpus{_beside_declared(own)}"
    accepted = {None: "", "check": "; the config does not accept it (saes.fit: check)"}.get(fit, f"; {_ACCEPTED}")
    return f"{_which(own)} does not fit: {measured}; {_found(own, others)}{accepted}"


def fit_sentence(lake: Lake, sae: str) -> str:
    """Whether an SAE fits its hookpoint and, if not, what was tried; empty if it has not been measured."""
    rows = lake.query("sae_fits", sae=sae).to_dicts()
    if not rows:
        return ""
    own, *others = rows
    which = _which(own)
    if own["fvu"] is None:
        return f"{which}: the corpus has too few tokens to tell whether it fits"
    firings = f"{own['l0']:.1f} firings per token{_declared(own)}"
    measured = f"FVU {own['fvu']:.2f}, {firings} on {own['n_tokens']:,} tokens{_loss(own)}"
    if own["fits"]:
        beside = next((row for row in others if row["hookpoint"] != own["hookpoint"]), None)
        return f"{which} fits: {measured}" + (f" ({_figure(beside, own)})" if beside else "") + _note(own, others)
    if not _is_declared(own["l0"], own["declared_l0"]):
        measured += f", but its files declare {own['declared_l0']:g}"
    is_accepted = lake.config.sae(sae).fit == "accept"
    cure = _ACCEPTED if is_accepted else "saes.fit: accept continues anyway"
    if (better := _better(others)) and _is_good(better):
        cure = f"{_cure(better, own, is_cached=lake.config.corpus.cache is not None)}; {cure}"
    return f"{which} does not fit: {measured}; {_found(own, others)}; {cure}; tried: {_tried(own, others)}"


def _declared(own: dict[str, Any]) -> str:
    """The firings per token that the SAE's files declare, if somewhat fewer or more were measured."""
    declared = own["declared_l0"]
    if declared is None or abs(own["l0"] - declared) < _LIKE_DECLARED * declared:
        return ""
    return f" (its files declare {declared:g})" if _is_declared(own["l0"], declared) else ""


def _note(own: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """What a scaled input shows of an SAE that fits; empty if it shows nothing.

    An SAE is trained for the scale that leaves least unexplained, so another one is hardly better: unless it makes
    more features fire.
    """
    for row in others:
        is_better = row["fvu"] <= min(_NOTED * own["fvu"], own["fvu"] - _MARGIN)
        if row["normalisation"] in _SCALED and is_better and row["l0"] <= _AS_MANY * own["l0"]:
            scaled = f"FVU {row['fvu']:.2f} {_WAYS[row['normalisation']]}"
            return f"; {scaled}: if a factor scales what it reads, it may be wrong"
    return ""


def _which(own: dict[str, Any]) -> str:
    return f"SAE '{own['sae']}' at '{own['hookpoint']}'"


def _beside_declared(own: dict[str, Any]) -> str:
    """The firings per token, if they are far from what the SAE's files declare."""
    if _is_declared(own["l0"], own["declared_l0"]):
        return ""
    return f", {own['l0']:.1f} firings per token, but its files declare {own['declared_l0']:g}"


def _better(others: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The best of the other trials, if it fits."""
    return next((row for row in others if row["fits"]), None)


def _is_good(trial: dict[str, Any]) -> bool:
    return bool(trial["fvu"] <= _GOOD_FVU)


def _found(own: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """Which other trial fits, if one does."""
    if (better := _better(others)) is None:
        return "nothing that was tried fits"
    return f"{_figure(better, own)} {'fits' if _is_good(better) else 'is the best that was tried, but not good'}"


def _is_declared(l0: float, declared: float | None) -> bool:
    return declared is None or declared / _L0_FACTOR <= l0 <= declared * _L0_FACTOR


def _loss(own: dict[str, Any]) -> str:
    """The share of the model's loss that is recovered, or why it was not measured."""
    if own["loss_recovered"] is None:
        return f"; loss recovered unknown: {own['loss_reason']}"
    return f", {own['loss_recovered']:.0%} of the loss recovered"


def _tried(own: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """The FVU of every trial; those that were far off were measured on only some of the tokens."""
    near = [_figure(row, own) for row in others if row["n_tokens"] == own["n_tokens"]]
    far = [_figure(row, own) for row in others if row["n_tokens"] != own["n_tokens"]]
    tried = ", ".join(near) or "nothing came close"
    return f"{tried}; far off, on {others[-1]['n_tokens']:,} of the tokens: {', '.join(far)}" if far else tried


def _figure(row: dict[str, Any], own: dict[str, Any]) -> str:
    """How a trial differs from the config's own, and its FVU."""
    words = {
        "hookpoint": row["hookpoint"],
        "prepend_bos": "with BOS" if row["prepend_bos"] else "without BOS",
        "is_centred": "centred" if row["is_centred"] else "not centred",
        "normalisation": _WAYS.get(row["normalisation"]),
        "weights": _WAYS.get(row["weights"]),
    }
    return f"{words[_changed(row, own)]} {row['fvu']:.2f}"


def _cure(row: dict[str, Any], own: dict[str, Any], *, is_cached: bool) -> str:
    """What to change: a key of the config, the files, or the cache from which the firings are read."""
    match _changed(row, own):
        case "hookpoint":
            set_it, named = f"set saes.hookpoint to {row['hookpoint']}", row["named_instead"]
            return (
                f"{set_it} and saes.fit to accept, because its files or path name '{named}'" if named else set_it
            )
        case "prepend_bos" if is_cached:
            return "make the cache again from rows that begin with a BOS"
        case "prepend_bos":
            return f"set corpus.prepend_bos to {str(row['prepend_bos']).lower()}"
        case "is_centred":
            return f"set saes.centred to {str(row['is_centred']).lower()}"
        case _:
            return "its weights are not what its format says: correct its files, or saes.format"


def _changed(row: dict[str, Any], own: dict[str, Any]) -> str:
    """The one column in which a trial differs from the config's own."""
    ways = ("hookpoint", "prepend_bos", "is_centred", "normalisation", "weights")
    return next(name for name in ways if row[name] != own[name])
