"""The windows that an LLM may read, and what the subject model writes when a feature is changed."""

from typing import get_args

import pyarrow as pa

from pipeline.sampling import Sampling
from pipeline.tables.schema import (
    CONTEXT_ID,
    DOC_ID,
    FEATURE,
    GENERATION,
    LOGIT,
    ROLE,
    SAE,
    Column,
    Law,
    Table,
    count,
    flag,
    number,
    text,
)

EXAMPLES = (
    Table(
        "example_index",
        "One row per feature and slot that may be drawn as an example.",
        (
            SAE,
            FEATURE,
            CONTEXT_ID,
            Column("start", pa.int32(), "position of the slot's first token"),
            Column("peak", pa.float32(), "largest activation in the slot; null where silent"),
            ROLE,
            Column("kind", pa.dictionary(pa.int8(), pa.string()), "`activating` or `silent`"),
            Column("decile", pa.int8(), "1 (weakest) to 10 by rank of the peak within role; null where silent"),
            Column("rank", pa.int32(), "1 is the strongest within role; null where silent"),
            Column(
                "draw",
                pa.int32(),
                "place in the hash order among the rows here of its role and kind, from 1; null for a test slot "
                "that is kept for its strength alone",
            ),
            Column("n_slots", pa.int32(), "slots of its role, kind and decile before any draw", "slots"),
        ),
        ("sae", "feature", "context_id", "start"),
        "sae",
        group="prepare",
        laws=(Law("active_slots_fire", "A feature fires in its activating slots, and in no silent one."),),
    ),
    Table(
        "examples",
        "One row per example: a window of tokens with the feature's activation on each.",
        (
            text("example_id", "hash of (sae, feature, context, start)"),
            SAE,
            FEATURE,
            CONTEXT_ID,
            Column("start", pa.int32(), "position of the window's first token"),
            Column("peak", pa.float32(), "largest activation in the window; null where silent"),
            ROLE,
            flag("is_judge", "a train window that judges where an explainer chooses among several explanations"),
            text("kind", "`activating`; or silent: `same_token`, else `neighbour`, else `random`"),
            Column("decile", pa.int8(), "1 (weakest) to 10 by rank of the peak; null where silent"),
            Column("rank", pa.int32(), "1 is the strongest of its role; null where silent"),
            Column(
                "draw",
                pa.int32(),
                "place in which a draw takes it, from 1: within role, and activating or silent; of train windows "
                "by explaining.sampling. Scorers take the first n_questions; strong test windows have a later "
                "place, or none",
            ),
            Column(
                "places",
                pa.struct([(sampling, pa.int32()) for sampling in get_args(Sampling)]),
                "its place in each sampling, by which explainers take theirs; null unless train and activating",
            ),
            Column("n_slots", pa.int32(), "slots of its role, kind and decile before any draw", "slots"),
            Column(
                "n_document_slots",
                pa.int32(),
                "candidate slots of its document, of its role and kind; null where train or without draw",
                "slots",
            ),
            Column(
                "reach",
                pa.float64(),
                "how far its stratum was looked through when it was taken, documents in turn: 0.3 where 3 in 10 "
                "of its slots were seen for each document's first, 1.3 for its second; null where train, "
                "without draw, or not taken by documents",
            ),
            Column(
                "neighbour",
                pa.int32(),
                "the near neighbour of whose strongest windows it is, for the scorer `neighbours`, which alone "
                "asks about it; such a window has no draw and no n_slots",
            ),
            Column("neighbour_rank", pa.int32(), "1 is the nearest neighbour; null where there is none"),
            Column("cosine", pa.float32(), "cosine of the decoder directions of feature and neighbour; or null"),
            DOC_ID,
            Column("token_ids", pa.list_(pa.int32()), "its tokens"),
            Column("activations", pa.list_(pa.float32()), "activation on each token; 0 where it does not fire"),
            GENERATION,
        ),
        ("example_id",),
        "sae_batch",
        group="explain_and_score",
    ),
    Table(
        "fuzzing_pairs",
        "One row per activating test window that fuzzing marks rightly, and the one it marks wrongly alike.",
        (
            SAE,
            FEATURE,
            text("example_id", "the window that is marked rightly"),
            Column("draw", pa.int32(), "place in which the pair is taken, from 1; dropped ones come last"),
            Column("marked", pa.list_(pa.int32()), "places that are marked in both windows"),
            text("partner_id", "the window that is marked wrongly; null where none was found: a pair dropped"),
            Column("try", pa.int32(), "number of the try at which it was found; 20 at most"),
        ),
        ("example_id",),
        "sae_batch",
        group="explain_and_score",
    ),
    Table(
        "steered_texts",
        "One row per feature, way of changing it and prompt: how the subject model continues the prompt.",
        (
            SAE,
            FEATURE,
            text("mode", "`steer`: strength is added to its activation on every token; `ablate`: it is set to 0"),
            number("target_kl", "divergence that the strength was to have; null for `ablate`", "nats"),
            number("strength", "in units of its activation; null for `ablate`"),
            number(
                "kl",
                "mean KL(changed || unchanged) of the next token, on the held-out texts on which the strength was "
                "found (`ablate`: on its own prompts)",
                "nats",
            ),
            number("kl_prompts", "the same on the prompts, which had no part in it", "nats"),
            Column("prompt_id", pa.int32(), "number of the text that is continued, from 0; null where none is"),
            CONTEXT_ID,
            text("prompt", "the text so far; of `ablate` up to a token on which the feature fires"),
            text("continuation", "what the model goes on to write, by draws that are the same for every feature"),
            text("unsteered", "what it writes by the same draws as it is"),
            text(
                "status",
                "`ok`; `unreachable`: no strength has that divergence; `no_prompt`: no test window is long enough",
            ),
        ),
        ("sae", "feature", "mode", "target_kl", "prompt_id"),
        "sae_batch",
        group="explain_and_score",
    ),
    Table(
        "token_changes",
        "One row per feature that was set to a value on texts: the tokens whose logits rise and fall most.",
        (
            SAE,
            FEATURE,
            number("strength", "to plus and minus which it was set: its largest train activation"),
            count("n_texts", "texts on which it was set, from position 1 on", "texts"),
            Column(
                "promoted",
                pa.list_(LOGIT),
                "half of what the logits differ by between plus and minus, on average over positions and texts, "
                "less the mean over the vocabulary; highest first; null where nothing differs",
            ),
            Column("suppressed", pa.list_(LOGIT), "lowest first, likewise"),
        ),
        ("sae", "feature"),
        "sae_batch",
        group="explain_and_score",
    ),
)
