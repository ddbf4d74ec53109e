"""What fires where: the activations of every feature."""

import pyarrow as pa

from pipeline.tables.schema import FEATURE, SAE, Column, Derived, Table

FIRINGS = (
    Table(
        "activation_shards",
        "One row per firing in one shard, as the forward pass wrote it; one row group per bucket of features.",
        (
            SAE,
            FEATURE,
            Column("token_index", pa.int64(), "context_id x context_length + position"),
            Column("activation", pa.float32(), "strength, above 0, of 11 significant bits"),
        ),
        ("sae", "feature", "token_index"),
        "sae_shard",
        group="cache",
        generations="each",
        is_folder=True,
        made_for_all_saes=True,
        is_key_checked=False,  # row by row, as shards are merged
    ),
    Table(
        "activations",
        "One row per firing of a feature on a token, sorted by (feature, token_index); a file per bucket.",
        (
            SAE,
            FEATURE,
            Column("token_index", pa.int64(), "context_id x context_length + position"),
            Column("activation", pa.float32(), "strength, above 0, of 11 significant bits"),
        ),
        ("sae", "feature", "token_index"),
        "sae",
        derived=(
            Derived("context_id", "token_index // context_length()", "the context it fires in"),
            Derived("position", "token_index % context_length()", "place in the context, from 0"),
        ),
        group="prepare",
        is_folder=True,
        is_key_checked=False,  # row by row, as they are merged
    ),
)
