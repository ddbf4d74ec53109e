"""Makes `sae_fit`: how each SAE reconstructs some of the experiment's own tokens, at its hookpoint and near it.

1. Some documents are drawn by hash, and their first tokens are read. Position 0 (and BOS) is left out, and so are
   tokens with massive activations at any of the hookpoints.
2. The SAE reconstructs them as configured.
3. It also does so at every nearby hookpoint, with and without BOS, centring and b_dec, and with its input scaled:
   on a quarter of the tokens, drawn by hash, and on all of them if it comes close on these.
4. If it does not fit as configured, the same module in every other layer is tried too.
5. The model's loss with the reconstruction in place is measured as configured (`loss`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

import polars as pl
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.config import Config, SaeConfig
from pipeline.errors import SubjectError
from pipeline.fit.hookpoints_tried import (
    Hookpoints,
    hookpoints_of_all_layers,
    named_instead,
    nearby_hookpoints,
    own_hookpoints,
)
from pipeline.fit.loss import Loss, measure_loss, unmeasurable
from pipeline.fit.measure import Figures, Normalisation, Weights, is_massive, measure, with_weights
from pipeline.fit.verdict import declared_l0, judge
from pipeline.lake import Lake, Published
from pipeline.models.causal import load_causal
from pipeline.models.load import load_tokenizer
from pipeline.progress import progress
from pipeline.sae import SparseCoder, load_sae
from pipeline.subject.contexts import pad_contexts
from pipeline.subject.forward import Hookpoint, Subject, load_subject, pass_tokens
from pipeline.tables import TABLES

_DOCUMENTS, _TOKENS = 16, 129
"""Number of documents, and of tokens read from each at most: 2,048 in all without the first of each. With a
context_length of 129 or less, a token fewer than that is read, to leave room for a BOS."""

_LOSS_TOKENS = 33
"""Tokens read from each document for the loss: 496 whose next token is predicted. For the demo's SAE these give
0.96 recovered, and four times as many 0.95; three passes to the model's end cost more than everything before."""

_NEAR = 0.05
"""A trial is measured on all tokens if its FVU on the screened ones is at most this much above that of the
config's own on the same tokens."""


@dataclass(frozen=True)
class _Trial:
    """Hookpoints, and a way of reading an SAE there."""

    at: Hookpoints
    prepend_bos: bool
    normalisation: Normalisation = "own"
    weights: Weights = "own"

    @property
    def hookpoints(self) -> tuple[Hookpoint, Hookpoint]:
        """What is read, and what should be reconstructed."""
        return self.at.reads, self.at.target


_States = dict[_Trial, tuple[Tensor, Tensor]]
"""What each trial reads and what it should reconstruct: float32 [n_tokens, width], the same tokens for all."""


def write_sae_fit(lake: Lake) -> Published:
    """Measure every SAE that has not been measured, or all if none is left; one row per hookpoint and way tried.

    An SAE without weights has no rows. Figures: each SAE's FVU and L0 as configured. Raises SubjectError if a
    hookpoint gives NaN or infinite values, and LakeError if an input is missing.
    """
    lake.require("saes", "documents")
    given = {"documents": [lake.path("documents", generation=0)]}  # documents added later make no difference
    drawn = lake.query("fit_contexts", fit_tokens=_TOKENS, fit_documents=_DOCUMENTS, given=given)
    sample = _Sample(lake.config, drawn)
    saes = [sae for sae in lake.config.saes if not lake.has("sae_fit", sae=sae.name)] or list(lake.config.saes)
    published, figures = [], {}
    with progress(len(saes), "fit of the SAEs", "SAEs") as bar:
        for sae in saes:
            rows = _measure_sae(sample, sae) if sae.source else TABLES["sae_fit"].schema.empty_table()
            for name in ("fvu", "l0") if rows.num_rows else ():
                figures[f"{sae.name} {name}"] = round(rows[name][0].as_py() or 0, 3)
            published.append(lake.write("sae_fit", rows, sae=sae.name))
            bar.update(1)
    return Published.together(published, figures)


class _Sample:
    """The tokens on which SAEs are tried, and what the subject model computes on them."""

    def __init__(self, config: Config, drawn: pl.DataFrame) -> None:
        """`drawn` are the rows of `fit_contexts`."""
        self.config = config
        self.contexts: Sequence[Sequence[int]] = drawn["token_ids"].to_list()
        screened = [each for row in drawn["is_screened"].to_list() for each in row[1:]]
        self.is_screened = torch.tensor(screened, dtype=torch.bool)
        self.bos: int | None = load_tokenizer(config.subject).bos_token_id

    @cached_property
    def subject(self) -> Subject:
        """The subject model."""
        return load_subject(self.config.subject, self.config.device)

    def loss(self, coder: SparseCoder, hookpoints: Hookpoints) -> Loss:
        """The model's loss with the SAE in place, read as configured."""
        if reason := unmeasurable(self.subject.model, hookpoints):
            return Loss(loss_reason=reason)
        try:
            model = load_causal(self.config.subject, self.config.device)
        except SubjectError as error:
            return Loss(loss_reason=str(error))
        prefix = [self.bos] if self.config.corpus.prepend_bos and self.bos is not None else []
        contexts = [[*prefix, *token_ids[:_LOSS_TOKENS]] for token_ids in self.contexts]
        return measure_loss(model, coder, hookpoints, contexts, n_kept=len(prefix) + 1)

    def read(self, hookpoints: Collection[Hookpoint], prepend_bos: bool) -> dict[Hookpoint, Tensor]:
        """The tokens' values at some hookpoints, with or without a BOS first: float32 [n_tokens, width] each.

        The tokens are those of `is_screened`, in that order: all of each context but its first.
        """
        prefix = [self.bos] if prepend_bos and self.bos is not None else []
        contexts = [(number, [*prefix, *token_ids]) for number, token_ids in enumerate(self.contexts)]
        at_once = max(1, pass_tokens(self.config) // _TOKENS)
        parts: list[dict[Hookpoint, Tensor]] = []
        for first in range(0, len(contexts), at_once):
            batch = pad_contexts(contexts[first : first + at_once], _TOKENS + 1)
            positions = torch.arange(batch.token_ids.shape[1])
            is_read = (positions > len(prefix)) & (positions < batch.lengths[:, None])
            read = self.subject.read(batch.token_ids, hookpoints)
            parts.append({each: value[is_read.to(value.device)].float() for each, value in read.items()})
        return {hookpoint: torch.cat([part[hookpoint] for part in parts]) for hookpoint in hookpoints}


def _measure_sae(sample: _Sample, sae: SaeConfig) -> pa.Table:
    """The rows of one SAE, the config's own first."""
    config = sample.config
    coder = load_sae(sae).to(sample.subject.device)
    own = _Trial(own_hookpoints(config.subject, sae, coder), config.corpus.prepend_bos)
    around = [replace(own, at=other) for other in nearby_hookpoints(config.subject, coder, own.at)]
    trials = [own, *_otherwise(own, coder, sample.bos is not None), *around]
    tried = _try(sample, coder, trials)
    if _judge(tried, coder)[0] is False:
        known = {trial.at.reads for trial in trials}
        everywhere = hookpoints_of_all_layers(config.subject, coder, own.at)
        trials += [replace(own, at=other) for other in everywhere if other.reads not in known]
        tried = _try(sample, coder, trials)
    named = named_instead(config.subject, coder, {trial.at for trial in tried})
    return _rows(sae, coder, own, tried, named, sample.loss(coder, own.at))


def _judge(tried: dict[_Trial, Figures], coder: SparseCoder) -> list[bool | None]:
    """Whether each trial fits, the config's own first."""
    return judge([*tried.values()], [trial.normalisation for trial in tried], declared_l0(coder))


def _otherwise(own: _Trial, coder: SparseCoder, has_bos: bool) -> Iterator[_Trial]:
    """The config's own hookpoint, read in other ways."""
    if has_bos:
        yield replace(own, prepend_bos=not own.prepend_bos)
    name, reads, target = own.at
    turned = reads._replace(centred=not reads.centred)
    yield replace(own, at=Hookpoints(name, turned, turned if target == reads else target))
    ways = [replace(own, weights=each) for each in get_args(Weights) if with_weights(coder, each) is not None]
    ways += [replace(own, normalisation=each) for each in get_args(Normalisation)]
    yield from (way for way in ways if way != own and way.normalisation not in _same_as_own(coder))


def _same_as_own(coder: SparseCoder) -> set[Normalisation]:
    """The normalisations that make no difference to a coder."""
    match coder.normalisation:
        case "none":
            return {"none"}
        case "centred":
            return set()
        case _:  # the scale of each token is taken out
            return {"scaled_up", "scaled_down"}


def _try(sample: _Sample, coder: SparseCoder, trials: Sequence[_Trial]) -> dict[_Trial, Figures]:
    """The figures of trials, the config's own first: on all tokens, or on the screened ones if far worse on these.

    All are measured on the same tokens, whatever their hookpoint. A trial that reads NaN or infinite values
    has none.
    """
    states = _read(sample, trials)
    is_kept = ~torch.stack([is_massive(target) for _, target in states.values()]).any(dim=0)
    screened = _measure(coder, states, is_kept & sample.is_screened.to(is_kept.device))
    own = screened[trials[0]].fvu
    far = {
        trial: figures
        for trial, figures in screened.items()
        if own is not None and figures.fvu is not None and figures.fvu > own + _NEAR
    }
    near = {trial: pair for trial, pair in states.items() if trial not in far}
    measured = _measure(coder, near, is_kept)
    return {trial: far.get(trial) or measured[trial] for trial in states}


def _read(sample: _Sample, trials: Sequence[_Trial]) -> _States:
    """What trials read. Raises SubjectError if the first, the config's own, reads NaN or infinite values."""
    states: _States = {}
    for prepend_bos in dict.fromkeys(trial.prepend_bos for trial in trials):
        alike = [trial for trial in trials if trial.prepend_bos == prepend_bos]
        found = sample.read({each for trial in alike for each in trial.hookpoints}, prepend_bos)
        are_numbers = {hookpoint: bool(state.isfinite().all()) for hookpoint, state in found.items()}
        for trial in alike:
            if all(are_numbers[each] for each in trial.hookpoints):
                states[trial] = (found[trial.at.reads], found[trial.at.target])
            elif trial == trials[0]:
                raise SubjectError(
                    f"hookpoint '{trial.at.name}' of '{sample.subject.name}' gave NaN or infinite values; "
                    "set subject.dtype to float32"
                )
    return states


def _measure(coder: SparseCoder, states: _States, is_taken: Tensor) -> dict[_Trial, Figures]:
    """The figures of each trial on the tokens in is_taken, bool [n_tokens]."""
    return {
        trial: measure(
            with_weights(coder, trial.weights) or coder, reads[is_taken], target[is_taken], trial.normalisation
        )
        for trial, (reads, target) in states.items()
    }


def _rows(
    sae: SaeConfig,
    coder: SparseCoder,
    own: _Trial,
    tried: dict[_Trial, Figures],
    named: Mapping[Hookpoints, str | None],
    loss: Loss,
) -> pa.Table:
    declared = declared_l0(coder)
    rows = [
        {
            "sae": sae.name,
            "hookpoint": trial.at.name,
            "named_instead": named[trial.at],
            "is_centred": trial.at.reads.centred,
            "normalisation": trial.normalisation,
            "weights": trial.weights,
            "prepend_bos": trial.prepend_bos,
            **figures._asdict(),
            "declared_l0": declared,
            "is_configured": trial == own,
            "fits": fits,
            **(loss if trial == own else Loss())._asdict(),
        }
        for (trial, figures), fits in zip(tried.items(), _judge(tried, coder), strict=True)
    ]
    return pa.Table.from_pylist(rows).select(TABLES["sae_fit"].schema.names)
