"""A lake in a notebook, also while a run writes it: SQL, one feature at a glance, what fires on a text.

lake = pipeline.open_lake("lake/demo")
lake.sql("select route, count(*) from feature_routes group by route")
lake.feature("layers.9", 41).scores
"""

from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl

from pipeline.config import Config
from pipeline.errors import CorpusError, LakeError
from pipeline.firings.forward import encode_batch, open_reader
from pipeline.firings.texts import text_tokens
from pipeline.fit.verdict import misfit_sentence, misfit_sentences
from pipeline.lake import CATALOG_FILE, open_catalog
from pipeline.lake.queries import bind, create_steps
from pipeline.models.load import load_tokenizer
from pipeline.models.token_bytes import token_bytes
from pipeline.show.terminal import printable
from pipeline.sources import recorded_lake
from pipeline.subject.contexts import pad_contexts
from pipeline.subject.forward import load_subject
from pipeline.tables.sql import sql_text


class FeatureCard(NamedTuple):
    """What the lake knows about one feature; tables that are not made yet are empty.

    `logits` has the tokens that the feature promotes and suppresses. `scrambled` has how often it fires on its
    tokens among random ones, if it is a unigram candidate that was tested. `misfit` says if its SAE does not fit
    its hookpoint; empty otherwise.
    """

    statistics: dict[str, Any]
    route: dict[str, Any]
    misfit: str
    logits: dict[str, Any]
    scrambled: pl.DataFrame
    examples: pl.DataFrame
    explanations: pl.DataFrame
    scores: pl.DataFrame

    def __repr__(self) -> str:
        """The feature in a few lines, as a notebook shows it; the fields have the rest."""
        own, route = self.statistics, self.route
        lines = [f"feature {own['feature']} of {own['sae']}"]
        if route:
            lines[0] += f": route {route['route']} ({route['reason']})"
        largest = "" if own["max_activation"] is None else f", at most {own['max_activation']:.1f}"
        lines += [self.misfit] if self.misfit else []
        lines.append(f"fires on {own['density']:.2%} of the tokens{largest}: {_in_quotes(own['top_tokens'])}")
        if self.logits:
            lines += [f"{name}: {_in_quotes(self.logits[name])}" for name in ("promoted", "suppressed")]
        for each in self.explanations.filter(pl.col("is_chosen")).iter_rows(named=True):
            scores = self.scores.filter(explanation_id=each["explanation_id"]).iter_rows(named=True)
            figures = ", ".join(f"{score['scorer']} {_figure_of(score)}" for score in scores)
            lines.append(f"{each['explainer']} ({figures or 'no score'}): {each['explanation'] or each['status']}")
        return "\n".join([*map(printable, lines), f"fields: {', '.join(self._fields)}"])


def _in_quotes(tokens: list[dict[str, Any]] | None) -> str:
    return ", ".join(f"'{token['text']}'" for token in tokens or ())


def _figure_of(score: dict[str, Any]) -> str:
    """A scorer's main metric: the first that is not null."""
    names = ("balanced_accuracy", "auroc", "correlation", "accuracy")
    return next((f"{score[name]:.2f}" for name in names if score[name] is not None), "-")


class OpenLake:
    """A lake, read through its catalog, also while the pipeline runs."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = folder
        self._connection = open_catalog(folder)

    def sql(self, query: str, **values: Any) -> pl.DataFrame:
        """The rows of a query on the tables; `values` are its parameters `$name`."""
        rows: pl.DataFrame = self._connection.sql(query, params=values or None).pl()
        return rows

    def feature(self, sae: str, feature: int) -> FeatureCard:
        """One feature at a glance. Raises LakeError if the SAE has no such feature."""
        found = self._rows_of("feature_stats", sae, feature)
        if found.is_empty():
            raise LakeError(f"no feature {feature} of SAE '{sae}' in '{self.folder}'")
        route, logits = (self._rows_of(table, sae, feature) for table in ("feature_routes", "feature_logits"))
        tables = ("scrambled_contexts", "examples", "explanations", "scores")
        return FeatureCard(
            found.row(0, named=True),
            {} if route.is_empty() else route.row(0, named=True),
            misfit_sentence(self.sql(sql_text("sae_fits"), sae=sae).to_dicts()),
            {} if logits.is_empty() else logits.row(0, named=True),
            *(self._rows_of(table, sae, feature) for table in tables),
        )

    def in_words(self, config: Config) -> pl.DataFrame:
        """Each feature's route and explanation (`features_in_words.sql`), from the config's explainers."""
        create_steps(self._connection, config, "features_in_words", (), {}, "temp table")
        text, values = bind(self._connection, config, "features_in_words", {})
        return self.sql(text, **values)

    def misfits(self, config: Config) -> dict[str, str]:
        """A sentence about each SAE of a config that does not fit its hookpoint, by its name."""
        return misfit_sentences(self.sql(sql_text("sae_fits"), sae=None).to_dicts(), config.saes)

    def _rows_of(self, table: str, sae: str, feature: int) -> pl.DataFrame:
        own = (duckdb.ColumnExpression("sae") == duckdb.ConstantExpression(sae)) & (
            duckdb.ColumnExpression("feature") == duckdb.ConstantExpression(feature)
        )
        rows: pl.DataFrame = self._connection.view(table).filter(own).pl()
        return rows


def open_lake(folder: Path | str) -> OpenLake:
    """Open the lake of an experiment, `lake/<name>`. Raises LakeError if there is none."""
    return OpenLake(folder)


class TextFirings(NamedTuple):
    """A text's tokens as text, and one row per firing on it (sae, feature, token_index, activation)."""

    tokens: list[str]
    firings: pl.DataFrame


class TextReader:
    """The subject model with the SAEs of an experiment, loaded once to read many texts."""

    def __init__(self, config: Config) -> None:
        self._lake = recorded_lake(config)
        self._context_length = config.corpus.context_length
        self._spell = token_bytes(load_tokenizer(config.subject))
        self._subject = load_subject(config.subject, config.device)
        self._saes = {sae.name: open_reader(config, sae, self._subject.device) for sae in config.saes}

    def read(self, text: str) -> TextFirings:
        """What fires on a text's first context_length tokens, without position 0, as everywhere.

        Raises:
            CorpusError: The text has fewer than two tokens.
        """
        token_ids = text_tokens(self._lake, text, self._context_length)
        if len(token_ids) < 2:
            raise CorpusError(
                "the text has fewer than two tokens, and features are not read on the first token of a context"
            )
        batch = pad_contexts([(0, token_ids)], self._context_length)
        parts = [
            pl.DataFrame(firings._asdict()).with_columns(pl.lit(name).alias("sae"))
            for name, firings in encode_batch(batch, self._subject, self._saes)
        ]
        tokens = [self._spell(token_id).decode("utf-8", "backslashreplace") for token_id in token_ids]
        return TextFirings(tokens, pl.concat(parts).filter(pl.col("token_index") > 0))


def fires(config: Config, text: str) -> pl.DataFrame:
    """What fires on a text: one row per SAE and feature, the strongest first.

    Columns: sae, feature, activation (the largest), n_tokens (that it fires on), tokens (those, as text, in
    order), route and words (from the lake; null if it does not have them yet). Only the text's first
    context_length tokens are read, and firings on position 0 are left out, as everywhere.

    Raises:
        CorpusError: The text has fewer than two tokens.
    """
    tokens, firings = TextReader(config).read(text)
    spelled = pl.DataFrame(
        {"token_index": range(len(tokens)), "token": tokens},
        schema={"token_index": pl.Int64, "token": pl.String},
    )
    by_feature = (
        firings.join(spelled, on="token_index")
        .sort("token_index")
        .group_by("sae", "feature")
        .agg(
            pl.col("activation").max(),
            pl.len().alias("n_tokens"),
            pl.col("token").alias("tokens"),
        )
    )
    return by_feature.join(_known_words(config), on=["sae", "feature"], how="left").sort(
        ["activation", "sae", "feature"], descending=[True, False, False]
    )


def known_misfits(config: Config) -> list[str]:
    """A sentence about each SAE that does not fit its hookpoint, from the lake; empty if there is no lake yet."""
    return [*open_lake(config.lake_folder).misfits(config).values()] if _has_lake(config) else []


def _known_words(config: Config) -> pl.DataFrame:
    """Routes and explanations from the lake; no rows if there is no lake yet."""
    if not _has_lake(config):
        names = {"sae": pl.String, "feature": pl.Int32, "route": pl.String, "words": pl.String}
        return pl.DataFrame(schema=names)
    return open_lake(config.lake_folder).in_words(config)


def _has_lake(config: Config) -> bool:
    return (config.lake_folder / CATALOG_FILE).is_file()
