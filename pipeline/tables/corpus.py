"""The corpus and the SAEs that read it."""

import pyarrow as pa

from pipeline.tables.schema import (
    CONTEXT_ID,
    DOC_ID,
    GENERATION,
    ROLE,
    SAE,
    SHARD,
    Column,
    Law,
    Table,
    count,
    flag,
    number,
    text,
)

CORPUS = (
    Table(
        "saes",
        "One row per SAE of the experiment.",
        (
            SAE,
            text("hookpoint", "what it reads in the subject model, as the config names it"),
            text("format", "format of its files; `delphi` where only its firings are here, in a cache"),
            text("architecture", "what its files call it: `topk`, `jumprelu`, `gated`, `BatchTopKSAE`, …"),
            Column("d_in", pa.int32(), "width of its input; null where its weights are not here"),
            Column("n_features", pa.int32(), "number of its features"),
            Column("k", pa.int32(), "features kept per token; null where a threshold decides"),
            number("threshold_min", "lowest threshold of a feature, 0 for a ReLU; null where k decides"),
            number("threshold_max", "highest threshold of a feature"),
            text(
                "normalisation",
                "what is done to its input: `none`, `centred`, `layer_norm` or `constant_norm_rescale`",
            ),
            text("folded", "what was multiplied into its weights when they were loaded; null where nothing was"),
            number("declared_l0", "firings per token that its files or folder declare; null where they do not"),
            text("source", "where its files come from"),
            text("revision", "commit of its files on the hub; null where they are local"),
            text("weights_hash", "SHA-256 over its files"),
        ),
        ("sae",),
        "sae",
        group="corpus",
        made_for_all_saes=True,
    ),
    Table(
        "documents",
        "One row per document of the corpus, without duplicates; for delphi's cache, one per row of it.",
        (
            DOC_ID,
            text("source", "the text source it comes from"),
            text("unit", "module, README, topic, file or row that it comes from; for a row of a cache its hash"),
            text("text", "its text"),
            Column("token_ids", pa.list_(pa.int32()), "its tokens, without any BOS"),
            count("n_tokens", "number of its tokens", "tokens"),
            Column("first_context_id", pa.int64(), "number of its first context"),
            SHARD,
            ROLE,
            GENERATION,
        ),
        ("doc_id",),
        "all",
        group="corpus",
        generations="each",
    ),
    Table(
        "tokens",
        "One row per token of the subject model's vocabulary.",
        (
            Column("token_id", pa.int32(), "its id"),
            text("text", "its text; bytes that are not text on their own are written \\xNN"),
            Column("bytes", pa.binary(), "its bytes, which join across tokens into UTF-8"),
            flag("is_special", "whether it is a control token (BOS, EOS, …)"),
        ),
        ("token_id",),
        "all",
        group="corpus",
    ),
    Table(
        "contexts",
        "One row per context window. A document's contexts are consecutive, and no context spans two documents.",
        (
            CONTEXT_ID,
            DOC_ID,
            SHARD,
            Column("token_ids", pa.list_(pa.int32()), "its tokens; with prepend_bos the BOS is the first"),
        ),
        ("context_id",),
        "shard",
        group="cache",
        generations="each",
    ),
    Table(
        "slots",
        "One row per slot: a fixed piece of a context, after position 0, the same for every feature.",
        (
            CONTEXT_ID,
            Column("start", pa.int32(), "position of its first token in the context"),
            count("n_tokens", "its length", "tokens"),
            DOC_ID,
            ROLE,
            flag(
                "is_copied",
                "a test slot that touches a run of tokens also found in a train document, or stands there whole",
            ),
            flag("is_candidate", "may become an example: not copied"),
        ),
        ("context_id", "start"),
        "all",
        group="corpus",
        laws=(Law("no_test_candidate_in_train", "No test candidate's tokens stand in a train document."),),
    ),
    Table(
        "train_words",
        "One row per token and per word of the train documents, in lower case.",
        (
            text("kind", "`token`: without its spaces; `word`: letters, then letters, digits and _"),
            text("word", "the token or word"),
            count("n", "occurrences of the token, position 0 left out; candidate slots in which the word stands"),
        ),
        ("kind", "word"),
        "all",
        group="corpus",
    ),
    Table(
        "sae_fit",
        "One row per SAE, hookpoint and way of reading it that was tried: how well it reconstructs some tokens.",
        (
            SAE,
            text("hookpoint", "the hookpoint: the config's own, or another that was tried"),
            flag("is_centred", "whether each token's mean over the width was subtracted first"),
            text(
                "normalisation",
                "`own`: as its files say; tried in its place: `none`, `average_norm`, `token_norm` (scaled to a "
                "norm of sqrt(d), on average or each token), `layer_norm`",
            ),
            text(
                "weights",
                "`own`: as its files say; tried: `input_bias` (b_dec subtracted from the input, or not, the other "
                "way), `transposed` (the decoder, where it is square)",
            ),
            flag("prepend_bos", "whether a BOS stood before the tokens"),
            number("fvu", "fraction of variance unexplained; 1 is no better than the mean; null: too few tokens"),
            number("l0", "mean number of features that fire", "features a token"),
            number("declared_l0", "the same as its files declare; null where they do not"),
            number("dead_share", "share of the features that fire on none of the tokens"),
            number("norm_ratio", "mean ratio of the reconstruction's norm to that of what it should be"),
            count(
                "n_tokens",
                "tokens measured: some of each of 16 documents, without position 0, BOS and what has massive "
                "activations at any hookpoint tried (norms above 10 medians); a quarter of them for what is far "
                "from fitting",
                "tokens",
            ),
            flag("is_configured", "whether this is how the config reads it"),
            flag("fits", "FVU under 1 and within 0.02 of the lowest, L0 within a factor of 3 of the declared one"),
            number(
                "loss_recovered",
                "(loss_ablated - loss_spliced) / (loss_ablated - loss); null: not measured, as at all places but "
                "the config's, or loss_reason",
            ),
            number("loss", "the model's mean loss on what follows some 500 of the tokens", "nats a token"),
            number(
                "loss_spliced",
                "the same with the SAE's reconstruction in place of what it reads (of a transcoder, of what its "
                "module returns); position 0 and BOS stay",
                "nats a token",
            ),
            number("loss_ablated", "the same with zeros in its place", "nats a token"),
            count("n_loss_tokens", "tokens whose loss that is", "tokens"),
            text("loss_reason", "why the configured hookpoint has no loss_recovered"),
        ),
        ("sae", "hookpoint", "is_centred", "normalisation", "weights", "prepend_bos"),
        "sae",
        group="corpus",
        made_for_all_saes=True,
        generations="first",
    ),
)
