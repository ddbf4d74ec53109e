"""The effect of setting a feature: the tokens whose logits rise and fall most, on texts of train documents.

TokenChange of Gur-Arieh et al. 2025. On each text the feature is set to +m and to -m at every position from 1 on,
m its own largest train activation (theirs: 10 for every feature): the SAE's hookpoint gets (±m - a) times the
decoder direction, a being the feature's activation there, so that the SAE's error stays. A token's figure is

    (logit at +m - logit at -m) / 2, averaged over positions and texts, less its mean over the vocabulary

and as logits are linear in the last hidden states, these are averaged and go through the unembedding once a
feature (a soft cap on logits is left out). Other than `feature_logits` it holds what later layers make of the
feature, also where no direct path leads to the logits. Features go through the model some at a time, batch_tokens
tokens a pass.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.config import Config
from pipeline.errors import LakeError
from pipeline.features.logits import extreme_logits, listed_tokens
from pipeline.firings.forward import Reader, open_reader
from pipeline.lake import Given, Lake, Published
from pipeline.make_table import read_rows
from pipeline.progress import progress
from pipeline.subject.editing import run_edited
from pipeline.subject.forward import Subject, load_subject, pass_tokens
from pipeline.subject.unembedding import load_unembedding
from pipeline.tables import TABLES
from pipeline.tables.stages import STAGES

TABLE = "token_changes"


class Setting(NamedTuple):
    """A feature and the strength to which it is set."""

    feature: int
    strength: float


def write_token_changes(lake: Lake, sae: str, batch: int) -> Published:
    """Measure a batch's features where an explainer shows what they change; those that are there are kept.

    Figures: features measured now. Raises LakeError if an input is missing, or no text is long enough.
    """
    lake.require(*STAGES[TABLE].inputs, sae=sae, batch=batch)
    rows = TABLES[TABLE].schema.empty_table()
    n_measured = 0
    if _settings(lake.config).tokens == "changed":
        with lake.connect(sae, batch, tables=[TABLE]) as connection:
            rows = connection.table(TABLE).to_arrow_table().cast(rows.schema)
        known = set(rows["feature"].to_pylist())
        wanted = read_rows(lake, "changed_features", sae=sae, batch=batch).to_pylist()
        settings = [Setting(**row) for row in wanted if row["feature"] not in known]
        if settings:
            n_measured = len(settings)
            rows = pa.concat_tables([rows, _measured(lake, sae, settings)]).sort_by("feature")
    published = lake.write(TABLE, rows, sae=sae, batch=batch)
    return replace(published, figures={"features_measured": n_measured})


def stand_in(lake: Lake, sae: str, batch: int, made: Given) -> tuple[pa.Table, int]:
    """Rows as a run would write them, and how many tokens the subject model would read for the missing ones.

    In place of a feature's missing row are the tokens that its direction promotes. `made` has the rows of
    `selected_features`.
    """
    given = {"selected_features": made["selected_features"]}
    rows = read_rows(lake, "assumed_changes", sae=sae, batch=batch, given=given)
    if _settings(lake.config).tokens != "changed":
        return rows, 0
    wanted = read_rows(lake, "changed_features", sae=sae, batch=batch, given=given)["feature"].to_pylist()
    with lake.connect(sae, batch, tables=[TABLE]) as connection:
        known = {feature for (feature,) in connection.table(TABLE).select("feature").fetchall()}
    n_missing = len({*wanted} - known)
    n_tokens = sum(map(len, lake.query("token_change_texts")["token_ids"]))
    # Each text is read once as it is, and twice for each feature.
    return rows, n_tokens * (1 + 2 * n_missing) if n_missing else 0


def _measured(lake: Lake, sae: str, settings: Sequence[Setting]) -> pa.Table:
    """The rows of some features of an SAE."""
    config = lake.config
    texts = lake.query("token_change_texts")
    if texts.is_empty():
        raise LakeError(
            "no context of a train document is as long as explaining.output_centric.n_text_tokens; lower that"
        )
    token_ids = torch.tensor(texts["token_ids"].to_list()).reshape(texts.height, -1)
    subject = load_subject(config.subject, config.device)
    reader = open_reader(config, config.sae(sae), subject.device)
    changes = hidden_changes(subject, reader, token_ids, settings, pass_tokens(config), sae)
    vocabulary = lake.query("token_texts")["text"]
    unembedding = load_unembedding(config.subject, config.device)
    plain = unembedding._replace(gain=torch.ones_like(unembedding.gain), centres=False)  # norm applied already
    n_listed = config.heuristics.top_tokens
    found = extreme_logits(changes, plain, len(vocabulary), n_listed, subject.device)
    is_zero = ~changes.any(dim=1)
    columns = [
        [sae] * len(settings),
        [each.feature for each in settings],
        [each.strength for each in settings],
        [texts.height] * len(settings),
        *(listed_tokens(each, vocabulary, is_zero) for each in found),
    ]
    schema = TABLES[TABLE].schema
    return pa.table([pa.array(column) for column in columns], schema.names).cast(schema)


def hidden_changes(
    subject: Subject,
    reader: Reader,
    token_ids: Tensor,
    settings: Sequence[Setting],
    batch_tokens: int,
    name: str,
) -> Tensor:
    """By feature, half the difference between the last hidden states at +m and -m, float32 [n, d_model].

    It is the mean over the texts of token_ids [n_texts, length] and over their positions from 1 on.
    """
    n_texts, length = token_ids.shape
    n_rows = max(1, batch_tokens // (2 * length))  # of a text and a feature, whose signs go together
    edited = reader.writes or reader.hookpoint
    sums: dict[int, Tensor] = {}
    pairs = [(index, text) for index in range(len(settings)) for text in range(n_texts)]
    activations, units = _activations(subject, reader, token_ids, [each.feature for each in settings])
    directions = reader.coder.decoder[[each.feature for each in settings]]  # [n, d_out]
    strengths = torch.tensor([each.strength for each in settings], device=subject.device)
    is_set = torch.arange(length, device=subject.device) > 0
    with progress(len(pairs), f"token changes of {name}", "texts") as bar:
        for start in range(0, len(pairs), n_rows):
            some = pairs[start : start + n_rows]
            index, text = (torch.tensor(column) for column in zip(*some, strict=True))
            goals = torch.stack([strengths[index], -strengths[index]])[:, :, None]  # [2, rows, 1]
            steps = (goals - activations[text, :, index]) * units[text] * is_set  # [2, rows, length]
            added = (steps[..., None] * directions[index][:, None]).flatten(0, 1)  # [2 rows, length, d_out]
            last = run_edited(subject, token_ids[text].repeat(2, 1), edited, added.add)
            plus, minus = last[:, 1:].float().mean(dim=1).view(2, len(some), -1).cpu()
            for row, (own, _) in enumerate(some):
                sums[own] = sums.get(own, torch.zeros(plus.shape[1])) + (plus[row] - minus[row]) / 2
            bar.update(len(some))
    return torch.stack([sums[index] / n_texts for index in range(len(settings))])


def _activations(
    subject: Subject, reader: Reader, token_ids: Tensor, features: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Of texts as they are: the features' activations, and how often their directions a unit of them adds.

    [n_texts, length, n] and [n_texts, length].
    """
    read = subject.read(token_ids, [reader.hookpoint])[reader.hookpoint].flatten(0, 1)
    encoding = reader.coder.encode(read)
    found = torch.zeros(len(read), len(features), device=read.device)
    for index, feature in enumerate(features):
        fires = encoding.features == feature
        found[encoding.tokens[fires], index] = encoding.activations[fires]
    units = torch.as_tensor(reader.coder.unit(read), device=read.device).expand(len(read), 1)
    return found.view(*token_ids.shape, -1), units.reshape(token_ids.shape)


def _settings(config: Config) -> Any:
    return config.explaining.output_centric  # type: ignore[attr-defined]  # a plug-in's section
