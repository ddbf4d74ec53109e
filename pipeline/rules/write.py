"""Proves the rules among explanations that are known from files, as those mined are proved."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.errors import RuleError
from pipeline.lake import Lake, Published
from pipeline.plugins import find_plugin
from pipeline.rules.grammar import parse_rule, rule_columns, spellings_of
from pipeline.rules.score import RULE_SCHEMA, prove_rules
from pipeline.tables import TABLES
from pipeline.tables.stages import STAGES

_TABLE = "stated_rule_scores"
_SHOWN = 5

_log = logging.getLogger(__name__)


def write_stated_rule_scores(lake: Lake, sae: str) -> Published:
    """Score on every test token the explanations of an SAE's features that are rules; any other text is left out.

    Figures: explanations, and those that are no rule of this vocabulary. Raises LakeError if an input is missing.
    """
    lake.require(*STAGES[_TABLE].inputs, sae=sae)
    said = list(_known_explanations(lake, sae))
    rules = _rules(lake, said)
    rows = TABLES[_TABLE].schema.empty_table()
    if len(rules):
        features = range(lake.config.sae(sae).n_features)
        proved = prove_rules(lake, sae, rules.select(RULE_SCHEMA.names).to_arrow(), features)
        scored = proved.filter(role="test").join(rules.select("rule_id", "explainer"), on="rule_id")
        scored = scored.with_columns(sae=pl.lit(sae)).select(rows.schema.names)
        rows = scored.sort("feature", "explainer").to_arrow().cast(rows.schema)
    published = lake.write(_TABLE, rows, sae=sae)
    return replace(published, figures={"explanations": len(said), "of_these_no_rules": len(said) - len(rules)})


def _known_explanations(lake: Lake, sae: str) -> Iterator[tuple[str, int, str]]:
    """Explainer, feature and explanation, of the explainers whose explanations are in files."""
    for name in lake.config.explaining.from_files:
        known = getattr(find_plugin("explainers", name).load(), "known_explanations", None)
        for feature, text in known(lake.config, sae).items() if known else ():
            yield name, feature, text


def _rules(lake: Lake, said: list[tuple[str, int, str]]) -> pl.DataFrame:
    """The explanations that are rules, as rows of `RULE_SCHEMA` with their `explainer`.

    Those that are rules, but name something that is no token of this vocabulary, are logged.
    """
    spellings = spellings_of(lake.query("token_texts")["text"].to_list() if said else [])
    rows: list[dict[str, Any]] = []
    odd: list[str] = []
    for explainer, feature, text in said:
        try:
            rule = parse_rule(text)
        except RuleError:
            continue
        try:
            columns = rule_columns(rule, spellings)
        except RuleError as error:
            odd.append(f"feature {feature}: {error}")
            continue
        rows.append({"rule_id": len(rows), "feature": feature, **columns, "explainer": explainer})
    if odd:
        more = f"; and {len(odd) - _SHOWN:,} more" if len(odd) > _SHOWN else ""
        _log.warning("%s: not proved, but judged as words: %s%s", _TABLE, "; ".join(odd[:_SHOWN]), more)
    schema = RULE_SCHEMA.append(pa.field("explainer", pa.string()))
    return pl.DataFrame(pa.Table.from_pylist(rows, schema=schema))
