"""Windows that an LLM may read, and what the subject model writes when a feature is changed."""

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
        "One row per feature and slot in which it fires that may be drawn as an example.",
        (
            SAE,
            FEATURE,
            CONTEXT_ID,
            Column("start", pa.int32(), "position of the slot's first token"),
            Column("peak", pa.float32(), "largest activation in the slot"),
            ROLE,
            Column("decile", pa.int8(), "1 (weakest) to 10 by rank of the peak within role"),
            Column("rank", pa.int32(), "1 is the strongest within role"),
            Column(
                "draw",
                pa.int32(),
                "rank by hash among the rows here of its role, from 1; null for a test slot kept only for its "
                "strength",
            ),
            Column("n_slots", pa.int32(), "slots of its role and decile before sampling", "slots"),
        ),
        ("sae", "feature", "context_id", "start"),
        "sae",
        group="prepare",
        laws=(Law("active_slots_fire", "A feature fires in all its slots, as strongly as their peaks say."),),
    ),
    Table(
        "examples",
        "One row per example: a window of tokens with the feature's activation on each.",
        (
            text("example_id", "hash of (sae, feature, context, start), and of the neighbour where there is one"),
            SAE,
            FEATURE,
            CONTEXT_ID,
            Column("start", pa.int32(), "position of the window's first token"),
            Column("peak", pa.float32(), "largest activation in the window; null if silent"),
            ROLE,
            flag("is_judge", "a train window used to judge when an explainer chooses among several explanations"),
            text(
                "kind",
                "`activating`; or, if silent, the first that applies of `same_token`, `neighbour` and `random`",
            ),
            Column("decile", pa.int8(), "1 (weakest) to 10 by rank of the peak; null if silent"),
            Column("rank", pa.int32(), "1 is the strongest of its role; null if silent"),
            Column(
                "draw",
                pa.int32(),
                "order in which it is taken, from 1, within role and within activating or silent; for train "
                "windows by explaining.sampling. Scorers take the first n_questions; strong test windows come "
                "later or have none",
            ),
            Column(
                "places",
                pa.struct([(sampling, pa.int32()) for sampling in get_args(Sampling)]),
                "its order in each sampling, which explainers take windows by; null unless train and activating",
            ),
            Column("n_slots", pa.int32(), "slots of its role, kind and decile before sampling", "slots"),
            Column(
                "n_document_slots",
                pa.int32(),
                "candidate slots of its document, role and kind; null if train or without draw",
                "slots",
            ),
            Column(
                "reach",
                pa.float64(),
                "how much of its stratum had been searched when this slot was taken, in rounds of one slot per "
                "document: 0.3 means 30% of it in the first round, 1.3 means 30% in the second; null if train, "
                "without draw, or not taken by document",
            ),
            Column(
                "neighbour",
                pa.int32(),
                "near neighbour that fires strongly in this window, which only the scorer `neighbours` asks "
                "about; such a window has no draw and no n_slots",
            ),
            Column("neighbour_rank", pa.int32(), "1 is the nearest neighbour; null if neighbour is null"),
            Column(
                "cosine",
                pa.float32(),
                "cosine of the decoder directions of feature and neighbour; null if neighbour is null",
            ),
            DOC_ID,
            Column("token_ids", pa.list_(pa.int32()), "its tokens"),
            Column("activations", pa.list_(pa.float32()), "activation on each token; 0 where it does not fire"),
            GENERATION,
        ),
        ("example_id",),
        "sae_batch",
        group="explain_and_score",
        laws=(Law("windows_fire_by_kind", "A feature fires in its activating windows and in no silent one."),),
    ),
    Table(
        "fuzzing_pairs",
        "One row per activating test window with correct marks, paired with a window that gets the same marks "
        "wrongly.",
        (
            SAE,
            FEATURE,
            text("example_id", "the window with correct marks"),
            Column("draw", pa.int32(), "order in which the pair is taken, from 1; dropped pairs come last"),
            Column("marked", pa.list_(pa.int32()), "positions marked in both windows"),
            text("partner_id", "the window with wrong marks; null if none was found: the pair is dropped"),
            Column("try", pa.int32(), "number of the attempt that found it, at most 20"),
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
            number("target_kl", "target divergence; null for `ablate`", "nats"),
            number("strength", "in units of the feature's activation; null for `ablate`"),
            number(
                "kl",
                "mean KL(changed || unchanged) of the next token, on the held-out texts used to find the strength "
                "(`ablate`: on its own prompts)",
                "nats",
            ),
            number("kl_prompts", "the same on the prompts, which were not used to find the strength", "nats"),
            Column("prompt_id", pa.int32(), "number of the text that is continued, from 0; null if there is none"),
            CONTEXT_ID,
            text("prompt", "the text to be continued; for `ablate`, up to a token on which the feature fires"),
            text(
                "continuation",
                "the model's continuation, with random draws that are the same for every feature",
            ),
            text("unsteered", "continuation by the unchanged model, with the same random draws"),
            text(
                "status",
                "`ok`; `unreachable`: no strength reaches the divergence; `no_prompt`: no test window is long "
                "enough",
            ),
        ),
        ("sae", "feature", "mode", "target_kl", "prompt_id"),
        "sae_batch",
        group="explain_and_score",
    ),
    Table(
        "token_changes",
        "One row per feature set to a fixed value on texts: the tokens whose logits rise and fall most.",
        (
            SAE,
            FEATURE,
            number("strength", "the feature was set to plus and minus this value, its largest train activation"),
            count("n_texts", "texts on which it was set, from position 1 on", "texts"),
            Column(
                "promoted",
                pa.list_(LOGIT),
                "half the difference in logits between plus and minus, averaged over positions and texts, minus "
                "the mean over the vocabulary; highest first; null if nothing differs",
            ),
            Column("suppressed", pa.list_(LOGIT), "the same, lowest first"),
        ),
        ("sae", "feature"),
        "sae_batch",
        group="explain_and_score",
    ),
)
