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
            text("hookpoint", "what it reads in the subject model, as named in the config"),
            text("format", "format of its files; `delphi` if only its firings are available, in a cache"),
            text("architecture", "what its files call it: `topk`, `jumprelu`, `gated`, `BatchTopKSAE`, …"),
            Column("d_in", pa.int32(), "width of its input; null if its weights are not available"),
            Column("n_features", pa.int32(), "number of its features"),
            Column("k", pa.int32(), "features kept per token; null if a threshold decides"),
            number("threshold_min", "lowest threshold of any feature, 0 for a ReLU; null if k decides"),
            number("threshold_max", "highest threshold of any feature"),
            text(
                "normalisation",
                "what is done to its input: `none`, `centred`, `layer_norm` or `constant_norm_rescale`",
            ),
            text("folded", "what was folded into its weights when they were loaded; null if nothing was"),
            number("declared_l0", "firings per token declared by its files or folder; null if not declared"),
            text("source", "source of its files"),
            text("revision", "commit of its files on the Hugging Face Hub; null for local files"),
            text("weights_hash", "SHA-256 over its files"),
        ),
        ("sae",),
        "sae",
        group="corpus",
        made_for_all_saes=True,
    ),
    Table(
        "documents",
        "One row per document of the corpus, without duplicates; for a delphi cache, one per row of the cache.",
        (
            DOC_ID,
            text("source", "the text source it comes from"),
            text("unit", "module, README, topic, file or row that it comes from; for a row of a cache, its hash"),
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
            text("text", "its text; bytes that are not valid text on their own are written as \\xNN"),
            Column("bytes", pa.binary(), "its bytes; those of consecutive tokens join into UTF-8"),
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
            Column("token_ids", pa.list_(pa.int32()), "its tokens; with prepend_bos, BOS is the first"),
        ),
        ("context_id",),
        "shard",
        group="cache",
        generations="each",
    ),
    Table(
        "slots",
        "One row per slot: a fixed span of a context, after position 0, the same for every feature.",
        (
            CONTEXT_ID,
            Column("start", pa.int32(), "position of its first token in the context"),
            count("n_tokens", "its length", "tokens"),
            DOC_ID,
            ROLE,
            flag(
                "is_copied",
                "test slot that overlaps a run of tokens also found in a train document, or occurs there as a "
                "whole",
            ),
            flag("is_candidate", "may become an example: not is_copied"),
        ),
        ("context_id", "start"),
        "all",
        group="corpus",
        laws=(Law("no_test_candidate_in_train", "No test candidate's tokens occur in a train document."),),
    ),
    Table(
        "train_words",
        "One row per token and per word of the train documents, in lower case.",
        (
            text("kind", "`token`: without its spaces; `word`: letters, then letters, digits and _"),
            text("word", "the token or word"),
            count("n", "occurrences of the token, without position 0; or candidate slots that contain the word"),
        ),
        ("kind", "word"),
        "all",
        group="corpus",
    ),
    Table(
        "sae_fit",
        "One row per SAE, hookpoint and way of reading it that was tried: how well the SAE reconstructs a sample "
        "of tokens.",
        (
            SAE,
            text("hookpoint", "the hookpoint: the config's own, or another that was tried"),
            text(
                "named_instead", "another hookpoint of the model that the SAE's files or path name; null if none"
            ),
            flag("is_centred", "whether each token's mean over the width was subtracted first"),
            text(
                "normalisation",
                "`own`: as its files say; alternatives tried: `none`, `average_norm`, `token_norm` (scaled to a "
                "norm of sqrt(d), on average or for each token), `layer_norm`, and `scaled_up`, `scaled_down` "
                "(times and divided by sqrt(2); only noted, so `fits` is false)",
            ),
            text(
                "weights",
                "`own`: as its files say; alternatives tried: `input_bias` (subtracting b_dec from the input, or "
                "not, the other way), `transposed` (the decoder, where it is square)",
            ),
            flag("prepend_bos", "whether a BOS preceded the tokens"),
            number(
                "fvu",
                "fraction of variance unexplained; 1 is no better than the mean; null if too few tokens",
            ),
            number("l0", "mean number of features that fire", "features per token"),
            number("declared_l0", "the same as declared by its files; null if not declared"),
            number("dead_share", "share of features that fire on none of the tokens"),
            number("norm_ratio", "mean ratio of the reconstruction's norm to its target's"),
            count(
                "n_tokens",
                "tokens measured, sampled from 16 documents; excludes position 0, BOS, and tokens with massive "
                "activations at any hookpoint tried (norms above 10 medians); a quarter of them where the fit is "
                "far off",
                "tokens",
            ),
            flag("is_configured", "whether this is the config's own way"),
            flag(
                "fits",
                "FVU under 1 and within 0.02 of the lowest, L0 within a factor of 3 of the declared one; where "
                "another normalisation makes more features fire, its FVU counts only if it is lower by 40%",
            ),
            number(
                "loss_recovered",
                "(loss_ablated - loss_spliced) / (loss_ablated - loss); measured only for the config's own way; "
                "null there if loss_reason is set",
            ),
            number("loss", "the model's mean next-token loss on some 500 of the tokens", "nats per token"),
            number(
                "loss_spliced",
                "the same with the SAE's reconstruction in place of its input (for a transcoder, of its module's "
                "output); position 0 and BOS are unchanged",
                "nats per token",
            ),
            number("loss_ablated", "the same with zeros instead of the reconstruction", "nats per token"),
            count("n_loss_tokens", "number of tokens the losses are averaged over", "tokens"),
            text("loss_reason", "why the configured hookpoint has no loss_recovered"),
        ),
        ("sae", "hookpoint", "is_centred", "normalisation", "weights", "prepend_bos"),
        "sae",
        group="corpus",
        made_for_all_saes=True,
        generations="first",
    ),
)
