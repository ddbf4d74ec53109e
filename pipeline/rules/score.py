"""Scoring a user's own rule on every token of the train and test documents."""

import polars as pl
import pyarrow as pa

from pipeline.errors import ConfigError, LakeError
from pipeline.firings.layout import BUCKET_FEATURES
from pipeline.lake import Lake
from pipeline.make_table import read_rows
from pipeline.rules.grammar import parse_rule, rule_columns, spellings_of

RULE_SCHEMA = pa.schema(
    [
        ("rule_id", pa.int64()),
        ("feature", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),
        ("token_class", pa.string()),
        ("previous_token_ids", pa.list_(pa.int32())),
        ("previous_class", pa.string()),
        ("n_before", pa.int32()),
        ("is_excluded", pa.bool_()),
        ("position_below", pa.int32()),
    ]
)
"""The columns of given rules in the relations `mined_rules` and `proved_rules`."""


def score_rule(lake: Lake, sae: str, feature: int, text: str) -> tuple[str, pl.DataFrame]:
    """A rule's text, and its scores from `rule_role_scores`, one row per role.

    Raises:
        RuleError: It cannot be parsed, or names something that is not a token.
        LakeError: The corpus or the firings have not been made yet.
        ConfigError: There is no such SAE or feature.
    """
    own = lake.config.sae(sae)
    if not 0 <= feature < own.n_features:
        raise ConfigError(f"SAE '{sae}' has no feature {feature}, only 0 to {own.n_features - 1}")
    rule = parse_rule(text)
    lake.require("documents", "tokens", "contexts", "slots", "activations", sae=sae)
    texts: list[str] = lake.query("token_texts")["text"].to_list()
    row = {"rule_id": feature, "feature": feature, **rule_columns(rule, spellings_of(texts))}
    rows = pa.Table.from_pylist([row], schema=RULE_SCHEMA)
    words: str = read_rows(lake, "rule_words", sae=sae, given={"mined_rules": rows})["rule"][0].as_py()
    first = feature - feature % BUCKET_FEATURES
    scores = prove_rules(lake, sae, rows, range(first, first + BUCKET_FEATURES))
    if scores.is_empty():
        raise LakeError(f"the corpus of '{lake.config.name}' has no tokens to score a rule on")
    return words, scores.sort("role", descending=True)


def prove_rules(lake: Lake, sae: str, rules: pa.Table, features: range) -> pl.DataFrame:
    """The rows of `rule_role_scores` for rules (`RULE_SCHEMA`) about some features of an SAE."""
    proved = read_rows(
        lake,
        "rule_role_scores",
        sae=sae,
        given={"proved_rules": rules},
        first_feature=features.start,
        end_feature=features.stop,
    )
    return pl.DataFrame(proved)
