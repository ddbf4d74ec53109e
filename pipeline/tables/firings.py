"""The firings of every feature, with their activations."""

import pyarrow as pa

from pipeline.tables.schema import FEATURE, SAE, Column, Derived, Table

_FIRING = (
    SAE,
    FEATURE,
    Column("token_index", pa.int64(), "context_id x context_length + position"),
    Column("activation", pa.float32(), "activation, above 0, rounded to 11 significant bits"),
)

FIRINGS = (
    Table(
        "activation_shards",
        "One row per firing in one shard, as written by the forward pass; one row group per bucket of features.",
        _FIRING,
        ("sae", "feature", "token_index"),
        "sae_shard",
        group="cache",
        generations="each",
        is_folder=True,
        made_for_all_saes=True,
        is_key_checked=False,  # checked row by row when shards are merged
    ),
    Table(
        "activations",
        "One row per firing of a feature on a token, sorted by (feature, token_index); one file per bucket.",
        _FIRING,
        ("sae", "feature", "token_index"),
        "sae",
        derived=(
            Derived("context_id", "token_index // context_length()", "the context it fires in"),
            Derived("position", "token_index % context_length()", "position in the context, from 0"),
        ),
        group="prepare",
        is_folder=True,
        is_key_checked=False,  # checked row by row while merging
    ),
)
