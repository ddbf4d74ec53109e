"""The corpus and the SAEs that read it."""

import pyarrow as pa

from pipeline.tables.schema import CONTEXT_ID, DOC_ID, ROLE, SAE, SHARD, Column, Law, Table, count, flag, text

CORPUS = (
    Table(
        "saes",
        "One row per SAE of the experiment.",
        (
            SAE,
            text("hookpoint", "what it reads in the subject model, as the config names it"),
            text("format", "layout of its files"),
            Column("d_in", pa.int32(), "width of its input"),
            Column("n_features", pa.int32(), "number of its features"),
            text("source", "where its files come from"),
            text("weights_hash", "SHA-256 over its files"),
        ),
        ("sae",),
        "sae",
        group="corpus",
        made_for_all_saes=True,
    ),
    Table(
        "documents",
        "One row per document of the corpus, duplicates dropped.",
        (
            DOC_ID,
            text("source", "the text source it comes from"),
            text("unit", "module, README, topic, file or row that it is a piece of"),
            text("text", "its text"),
            Column("token_ids", pa.list_(pa.int32()), "its tokens, without any BOS"),
            count("n_tokens", "number of its tokens", "tokens"),
            Column("first_context_id", pa.int64(), "number of its first context"),
            SHARD,
            ROLE,
        ),
        ("doc_id",),
        "all",
        group="corpus",
    ),
    Table(
        "tokens",
        "One row per token of the subject model's vocabulary.",
        (
            Column("token_id", pa.int32(), "its id"),
            text("text", "its text; bytes that are no text on their own are written \\xNN"),
            Column("bytes", pa.binary(), "its bytes, which join across tokens into UTF-8"),
            flag("is_special", "whether it is a control token (BOS, EOS, …)"),
        ),
        ("token_id",),
        "all",
        group="corpus",
    ),
    Table(
        "contexts",
        "One row per context window; a document's contexts are consecutive, none holds two documents.",
        (
            CONTEXT_ID,
            DOC_ID,
            SHARD,
            Column("token_ids", pa.list_(pa.int32()), "its tokens; with prepend_bos the BOS is the first"),
        ),
        ("context_id",),
        "shard",
        group="cache",
    ),
    Table(
        "slots",
        "One row per slot: a piece of a context from position 1 on, the same for every feature.",
        (
            CONTEXT_ID,
            Column("start", pa.int32(), "position of its first token in the context"),
            count("n_tokens", "its length", "tokens"),
            DOC_ID,
            ROLE,
            flag("is_copied", "a test slot that touches a run of tokens also found in a train document"),
            flag("is_candidate", "may become an example: not copied"),
        ),
        ("context_id", "start"),
        "all",
        group="corpus",
        laws=(Law("no_test_candidate_in_train", "No test candidate's tokens stand in a train document."),),
    ),
)
