"""Steered texts: the subject model's continuations when a feature is raised, or set to 0.

They depend only on the SAE and the feature, so a scorer uses the same texts for every explanation. Each feature is
changed in separate forward passes over the same texts, so that neither its position in a batch nor a restart
changes a token; a killed run resumes with the current feature.

1. The strength for each target divergence is found on held-out texts (`steering.find_strengths`).
2. Prompts are continued with and without the change. The random draws are hashes of prompt and position, the same
   with and without, so that two continuations diverge only where the change makes another token more likely.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from pipeline.config import Config
from pipeline.errors import CorpusError
from pipeline.firings.forward import open_reader
from pipeline.lake import Given, Lake, Published
from pipeline.make_table import read_rows
from pipeline.models.tokenising import bos_prefix
from pipeline.progress import progress
from pipeline.subject.steering import (
    Divergence,
    Edit,
    SteeredSubject,
    check_steering,
    find_strengths,
    load_steered,
)
from pipeline.tables import TABLES
from pipeline.tables.inputs import inputs_of

TABLE = "steered_texts"

_USUAL_STEPS = 9
"""Number of strengths tried to reach three targets, measured on the demo's SAE; used by the estimate."""

Row = dict[str, Any]


def write_steered_texts(lake: Lake, sae: str, batch: int) -> Published:
    """Write the steered texts of a batch's features; features that already have texts keep them.

    Figures: the number of features by status, and of those steered in this call.

    Raises:
        LakeError: An input is missing.
        SubjectError: The SAE's features cannot be steered at its hookpoint.
        CorpusError: The corpus has too few documents with a context of `prompt_tokens`.
    """
    lake.require(*inputs_of(lake.config, TABLE), sae=sae, batch=batch)
    features = steered_features(lake, sae, batch)
    with lake.resumable(f"{TABLE}-{lake.folder(TABLE, sae).name}-{sae}-{batch}") as folder:
        target = lake.path(TABLE, sae=sae, batch=batch)
        known = _rows_by_feature([*([target] if target.exists() else []), *sorted(folder.glob("*.parquet"))])
        missing = [feature for feature in features if feature not in known]
        if missing:
            steering = _open_steering(lake, sae, batch)
            with progress(len(missing), f"{TABLE} of {sae}, batch {batch}", "features") as bar:
                for feature in missing:
                    known[feature] = [{"sae": sae, "feature": feature, **row} for row in steering.rows(feature)]
                    with lake.writing(folder / f"{feature:08d}.parquet") as temporary:
                        pq.write_table(_table(known[feature]), temporary)
                    bar.update(1)
        rows = _table([row for feature in sorted(features) for row in known[feature]])
        published = lake.write(TABLE, rows, sae=sae, batch=batch)
    statuses = [status for feature in features for status in {row["status"] for row in known[feature]}]
    figures = {status: statuses.count(status) for status in sorted(set(statuses))}
    return replace(published, figures={"features_steered": len(missing), **figures})


def steered_features(lake: Lake, sae: str, batch: int, given: Given | None = None) -> list[int]:
    """The features of a batch that are steered, in the order of their draw.

    These are the features that a scorer's model is asked about, and those that the other sets are taken from.
    """
    drawn = read_rows(lake, "batch_features", sae=sae, batch=batch, given=given).sort_by("place")
    features: list[int] = drawn["feature"].to_pylist()
    if lake.config.scoring.max_features is None:
        return features
    n_wanted: int = max(lake.config.scoring.max_features, _settings(lake.config).pool)
    return features[:n_wanted]


def stand_in(lake: Lake, sae: str, batch: int, made: Given) -> tuple[pa.Table, int]:
    """Rows as a run would write them, and how many tokens the subject model would read for the missing ones.

    The texts of missing rows are made from the prompts: about as long, and all different. `made` has the rows of
    `selected_features`. Raises CorpusError like `write_steered_texts`.
    """
    settings = _settings(lake.config)
    features = steered_features(lake, sae, batch, {"selected_features": made["selected_features"]})
    target = lake.path(TABLE, sae=sae, batch=batch)
    known = _rows_by_feature([target] if target.exists() else [])
    held_out, continued = _prompt_rows(lake, sae)
    token_bytes = lake.query("vocabulary")["bytes"].to_list()
    texts = [_spelled(token_bytes, row["token_ids"][: settings.new_tokens]) for row in continued]
    targets = sorted(settings.target_kls) if "steer" in settings.modes else []
    ways: list[tuple[str, float | None]] = [("steer", target) for target in targets]
    if "ablate" in settings.modes:
        ways.append(("ablate", None))
    rows = []
    for feature in features:
        stand_ins = [
            {
                "sae": sae,
                "feature": feature,
                "mode": mode,
                "target_kl": target,
                "prompt_id": number,
                "status": "ok",
            }
            | {"continuation": f"{text} {feature} {target}", "unsteered": text}
            for mode, target in ways
            for number, text in enumerate(texts)
        ]
        rows += known.get(feature, stand_ins)
    n_new = sum(feature not in known for feature in features)
    # A prompt is read once for its divergence and once to be continued, with and without the change.
    continuing = settings.n_prompts * (2 * settings.prompt_tokens + settings.new_tokens)
    finding = _USUAL_STEPS * len(held_out) * settings.prompt_tokens if targets else 0
    ablating = 2 * continuing if "ablate" in settings.modes else 0
    return _table(rows), n_new * (finding + len(targets) * continuing + ablating)


def check_steered_saes(config: Config) -> None:
    """Raise SubjectError if the features of an SAE in the config cannot be steered at its hookpoint."""
    for sae in config.saes:
        reader = open_reader(config, sae, torch.device("cpu"))
        check_steering(config.subject, reader.coder, sae.hookpoint, reader.hookpoint)


class Prompts(NamedTuple):
    """Texts to continue: ids of their contexts, token ids int64 [n, length], and draws float64 [n, n_new]."""

    context_ids: Sequence[int]
    token_ids: Tensor
    draws: Tensor


class Steering:
    """Steers the features of a batch of an SAE.

    Args:
        subject: The model.
        held_out: Texts on which strengths are found, int64 [n, length].
        prompts: The texts that are continued with a feature raised.
        own_prompts: By feature, the texts that are continued with it ablated.
        config: The experiment.
        token_bytes: The bytes of each token, by token id.
    """

    def __init__(
        self,
        subject: SteeredSubject,
        held_out: Tensor,
        prompts: Prompts,
        own_prompts: dict[int, Prompts],
        config: Config,
        token_bytes: Sequence[bytes],
    ) -> None:
        self._subject = subject
        self._prompts = prompts
        self._own_prompts = own_prompts
        self._settings = _settings(config)
        self._token_bytes = token_bytes
        if "steer" in self._settings.modes:
            self._held_out = Divergence(subject, held_out)
            self._mean_norm = subject.mean_norm(held_out)  # the same for all features
            self._unseen = Divergence(subject, prompts.token_ids)
            self._unsteered = subject.write(prompts.token_ids, prompts.draws)

    def rows(self, feature: int) -> Iterator[Row]:
        """The rows of a feature, without sae and feature."""
        if "steer" in self._settings.modes:
            yield from self._steered(feature)
        if "ablate" in self._settings.modes:
            yield from self._ablated(feature)

    def _steered(self, feature: int) -> Iterator[Row]:
        def kl_of(strength: float) -> float:
            return self._held_out(Edit(feature, "add", strength))

        unit = self._subject.unit_strength(self._mean_norm, feature)
        found = find_strengths(kl_of, self._settings.target_kls, unit) if unit else {}
        for target in sorted(self._settings.target_kls):
            row = {"mode": "steer", "target_kl": target}
            if target not in found or not found[target].is_reached:
                yield {**row, "status": "unreachable"}
                continue
            edit = Edit(feature, "add", found[target].strength)
            row |= {"strength": edit.strength, "kl": found[target].kl, "kl_prompts": self._unseen(edit)}
            yield from self._written(row, self._prompts, self._unsteered, edit)

    def _ablated(self, feature: int) -> Iterator[Row]:
        own, edit = self._own_prompts.get(feature), Edit(feature, "set", 0.0)
        row: Row = {"mode": "ablate"}
        if own is None:
            yield {**row, "status": "no_prompt"}
            return
        row["kl"] = row["kl_prompts"] = Divergence(self._subject, own.token_ids)(edit)
        yield from self._written(row, own, self._subject.write(own.token_ids, own.draws), edit)

    def _written(self, row: Row, prompts: Prompts, unsteered: Tensor, edit: Edit) -> Iterator[Row]:
        written = self._subject.write(prompts.token_ids, prompts.draws, edit)
        for prompt_id, context_id in enumerate(prompts.context_ids):
            yield {
                **row,
                "prompt_id": prompt_id,
                "context_id": context_id,
                "prompt": self._text(prompts.token_ids[prompt_id]),
                "continuation": self._text(written[prompt_id]),
                "unsteered": self._text(unsteered[prompt_id]),
                "status": "ok",
            }

    def _text(self, token_ids: Tensor) -> str:
        return _spelled(self._token_bytes, token_ids.tolist())


def _open_steering(lake: Lake, sae: str, batch: int) -> Steering:
    config, own = lake.config, lake.config.sae(sae)
    settings = _settings(config)
    reader = open_reader(config, own, torch.device("cpu"))
    subject = load_steered(config.subject, config.device, reader.coder, own.hookpoint, reader.hookpoint)
    held_out, continued = _prompt_rows(lake, sae)
    own_prompts = {}
    if "ablate" in settings.modes:
        rows = read_rows(lake, "ablation_prompts", sae=sae, batch=batch, bos_token_id=bos_prefix(config))
        for feature, some in groupby(rows.to_pylist(), itemgetter("feature")):
            own_prompts[feature] = _prompts(config, list(some))
    token_bytes = lake.query("vocabulary")["bytes"].to_list()
    held_out_ids = torch.tensor([row["token_ids"] for row in held_out])
    return Steering(subject, held_out_ids, _prompts(config, continued), own_prompts, config, token_bytes)


def _prompt_rows(lake: Lake, sae: str) -> tuple[list[Row], list[Row]]:
    """The texts on which strengths are found, and the texts that are continued."""
    settings = _settings(lake.config)
    rows = read_rows(lake, "steering_prompts", sae=sae).to_pylist()
    held_out, continued = ([row for row in rows if row["role"] == role] for role in ("train", "test"))
    if len(held_out) < 2:
        raise CorpusError(
            f"scoring.intervention: the corpus has {len(held_out)} train contexts of {settings.prompt_tokens} "
            "tokens, but finding a strength takes at least 2; lower prompt_tokens or add documents"
        )
    if len(continued) < settings.n_prompts:
        raise CorpusError(
            f"scoring.intervention: the corpus has {len(continued)} test documents with a context of "
            f"{settings.prompt_tokens} tokens, but n_trials x set_size is {settings.n_prompts}; lower one of these"
        )
    return held_out, continued


def _prompts(config: Config, rows: Sequence[Row]) -> Prompts:
    """Prompts with their draws: a number from 0 to 1 for each new token, by hash."""
    context_ids = [row["context_id"] for row in rows]
    n_new = _settings(config).new_tokens
    draws = [[_draw(config.seed, context_id, step) for step in range(n_new)] for context_id in context_ids]
    return Prompts(
        context_ids, torch.tensor([row["token_ids"] for row in rows]), torch.tensor(draws, dtype=torch.float64)
    )


def _spelled(token_bytes: Sequence[bytes], token_ids: Sequence[int]) -> str:
    """The text of some tokens; the bytes of a character that is cut off are left out."""
    return b"".join(token_bytes[token_id] for token_id in token_ids).decode("utf-8", "ignore")


def _draw(*parts: int) -> float:
    digest = hashlib.sha256(" ".join(map(str, ("continuation", *parts))).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def _rows_by_feature(paths: Sequence[Path]) -> dict[int, list[Row]]:
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    return {feature: list(some) for feature, some in groupby(rows, itemgetter("feature"))}


def _table(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), TABLES[TABLE].schema)


def _settings(config: Config) -> Any:
    return config.scoring.intervention  # type: ignore[attr-defined]  # a plug-in's section
