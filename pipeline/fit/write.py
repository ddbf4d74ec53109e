"""`sae_fit`: each SAE on some tokens of the experiment's own corpus, at its place and at those around it.

1. Some documents are drawn by hash, and their first tokens read; position 0 (and BOS) is left out.
2. The SAE reconstructs them as the config has it read.
3. It does the same at every place around that, with and without BOS, centring and b_dec, and with its input
   scaled: on every fourth token, and on all tokens where that comes close.
4. Where something else fits better, the same place of every other layer is tried too.
5. The model's loss with the reconstruction in place is measured as the config has it read (`loss`).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.config import Config, SaeConfig
from pipeline.errors import SubjectError
from pipeline.fit.loss import Loss, measure_loss, unmeasurable
from pipeline.fit.measure import Figures, Normalisation, Weights, measure, with_weights
from pipeline.fit.places import Place, own_place, places_around, places_everywhere
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
"""Documents tried, and tokens read of each: 2,048 without the first of each."""

_LOSS_TOKENS = 33
"""Tokens read of each document for the loss: 496 whose next token is predicted. Of the demo's SAE these say 0.96
recovered, and four times as many 0.95; three passes to the model's end cost more than all that is read before."""

_SCREENED = 4
_NEAR = 0.05
"""What differs from the config is measured on every fourth token, and on all where its FVU on these is no more
than this above that of the config's own."""


@dataclass(frozen=True)
class _Trial:
    """A place, and a way in which an SAE is read there."""

    place: Place
    prepend_bos: bool
    normalisation: Normalisation = "own"
    weights: Weights = "own"


def write_sae_fit(lake: Lake) -> list[Published]:
    """Measure every SAE that has not been, and write a row for each place and way that was tried.

    An SAE whose weights are not here has none. Figures: FVU and L0 of the last SAE. Raises SubjectError if a
    hookpoint gives values that are no numbers, and LakeError if an input is not there.
    """
    lake.require("saes", "documents")
    given = {"documents": [lake.path("documents", generation=0)]}  # documents that are added later fit no better
    drawn = lake.query("fit_contexts", fit_tokens=_TOKENS, fit_documents=_DOCUMENTS, given=given)
    sample = _Sample(lake.config, drawn["token_ids"].to_list())
    saes = [sae for sae in lake.config.saes if not lake.has("sae_fit", sae=sae.name)] or list(lake.config.saes)
    published = []
    with progress(len(saes), "whether the SAEs fit", "SAEs") as bar:
        for sae in saes:
            rows = _measure_sae(sample, sae) if sae.source else TABLES["sae_fit"].schema.empty_table()
            figures = {name: round(rows[name][0].as_py() or 0, 3) for name in ("fvu", "l0") if rows.num_rows}
            published.append(replace(lake.write("sae_fit", rows, sae=sae.name), figures=figures))
            bar.update(1)
    return published


class _Sample:
    """The tokens on which SAEs are tried, and what the subject model makes of them."""

    def __init__(self, config: Config, contexts: Sequence[Sequence[int]]) -> None:
        self.config = config
        self.contexts = contexts
        self.bos: int | None = load_tokenizer(config.subject).bos_token_id

    @cached_property
    def subject(self) -> Subject:
        """The subject model."""
        return load_subject(self.config.subject, self.config.device)

    def loss(self, coder: SparseCoder, place: Place) -> Loss:
        """The model's loss with the SAE in place, as the config has it read."""
        if reason := unmeasurable(self.subject.model, place):
            return Loss(loss_reason=reason)
        try:
            model = load_causal(self.config.subject, self.config.device)
        except SubjectError as error:
            return Loss(loss_reason=str(error))
        prefix = [self.bos] if self.config.corpus.prepend_bos and self.bos is not None else []
        contexts = [[*prefix, *token_ids[:_LOSS_TOKENS]] for token_ids in self.contexts]
        return measure_loss(model, coder, place, contexts, n_kept=len(prefix) + 1)

    def read(self, hookpoints: Collection[Hookpoint], prepend_bos: bool) -> dict[Hookpoint, Tensor]:
        """What hookpoints give for the tokens, with or without a BOS before: float32 [n_tokens, width] each."""
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
    """The rows of one SAE; the config's own is the first."""
    config = sample.config
    coder = load_sae(sae).to(sample.subject.device)
    own = _Trial(own_place(config.subject, sae, coder), config.corpus.prepend_bos)
    around = [replace(own, place=place) for place in places_around(config.subject, coder, own.place)]
    tried = _try(sample, coder, own, [*_otherwise(own, coder, sample.bos is not None), *around])
    if judge([*tried.values()], declared_l0(coder))[0] is False:
        known = {trial.place.reads for trial in tried}
        everywhere = [
            replace(own, place=place)
            for place in places_everywhere(config.subject, coder, own.place)
            if place.reads not in known
        ]
        tried |= _try(sample, coder, own, everywhere)
    return _rows(sae, coder, own, tried, sample.loss(coder, own.place))


def _otherwise(own: _Trial, coder: SparseCoder, has_bos: bool) -> Iterator[_Trial]:
    """The config's own place, read in other ways."""
    if has_bos:
        yield replace(own, prepend_bos=not own.prepend_bos)
    name, reads, target = own.place
    turned = reads._replace(centred=not reads.centred)
    yield replace(own, place=Place(name, turned, turned if target == reads else target))
    ways = [replace(own, weights=each) for each in get_args(Weights) if with_weights(coder, each) is not None]
    ways += [replace(own, normalisation=each) for each in get_args(Normalisation)]
    is_plain = coder.normalisation == "none"
    yield from (way for way in ways if way != own and not (is_plain and way.normalisation == "none"))


def _try(sample: _Sample, coder: SparseCoder, own: _Trial, others: Sequence[_Trial]) -> dict[_Trial, Figures]:
    """The figures of the config's own trial, on all tokens, and of others, on all where they come near to it."""
    tried: dict[_Trial, Figures] = {}
    near: float | None = None
    for prepend_bos in (own.prepend_bos, not own.prepend_bos):
        alike = [trial for trial in (own, *others) if trial.prepend_bos == prepend_bos]
        wanted = {each for trial in alike for each in (trial.place.reads, trial.place.target)}
        states = sample.read(wanted, prepend_bos) if alike else {}
        for trial in alike:
            reads, target = states[trial.place.reads], states[trial.place.target]
            if trial == own and not bool(reads.isfinite().all()):
                raise SubjectError(
                    f"hookpoint '{own.place.name}' of '{sample.subject.name}' gave values that are no numbers; "
                    "try subject.dtype float32"
                )
            read = with_weights(coder, trial.weights) or coder
            screened = measure(read, reads[::_SCREENED], target[::_SCREENED], trial.normalisation)
            if trial == own and screened.fvu is not None:
                near = screened.fvu + _NEAR
            is_far = near is not None and screened.fvu is not None and screened.fvu > near
            tried[trial] = screened if is_far else measure(read, reads, target, trial.normalisation)
    return tried


def _rows(
    sae: SaeConfig, coder: SparseCoder, own: _Trial, tried: dict[_Trial, Figures], loss: Loss
) -> pa.Table:
    declared = declared_l0(coder)
    rows = [
        {
            "sae": sae.name,
            "hookpoint": trial.place.name,
            "is_centred": trial.place.reads.centred,
            "normalisation": trial.normalisation,
            "weights": trial.weights,
            "prepend_bos": trial.prepend_bos,
            **figures._asdict(),
            "declared_l0": declared,
            "is_configured": trial == own,
            "fits": fits,
            **(loss if trial == own else Loss())._asdict(),
        }
        for (trial, figures), fits in zip(tried.items(), judge([*tried.values()], declared), strict=True)
    ]
    return pa.Table.from_pylist(rows).select(TABLES["sae_fit"].schema.names)
