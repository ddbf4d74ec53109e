"""`make report`: all figures of an experiment in one self-contained HTML file.

Pictures are inline SVG, and are also written beside the file as SVG and PNG; the numbers of each are below it.
Token text is untrusted: it is shown as in prompts, and escaped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from pipeline.asking.windows import Vocabulary, load_vocabulary
from pipeline.config import Config
from pipeline.lake import Lake, whole_folder
from pipeline.make_table import read_rows
from pipeline.show.closing import caution_on_small_models
from pipeline.show.figures import FIGURES, FigureOf, Picture, draw, inline
from pipeline.show.run_card import write_run_card
from pipeline.summary import student_quantiles

REPORT_FILE = "report.html"
PUBLISHED = Path(__file__).parent / "published"
"""Published results to compare with, one file each."""
_BESIDE = {"post": "beside_post"}
"""The SQL file with an experiment's own values of the same quantities, by the published file's name."""
_MOST_ROWS = 200
"""The most rows of numbers shown below a figure."""
_RANKED = 6
"""Explanations shown from each end of the ranking."""


@dataclass(frozen=True)
class Report:
    """A report that was written: its folder, and the PNG of every figure that has data, by its title."""

    folder: Path
    pictures: dict[str, bytes]


def write_report(lake: Lake) -> Report:
    """Write the report and its pictures into the lake's folder `report`, replacing the last one."""
    folder = lake.root / "report"
    labels = explainer_labels(lake.config)
    pictures: dict[str, bytes] = {}
    with whole_folder(folder) as temporary:
        card = write_run_card(lake, temporary)
        shown = []
        for figure in FIGURES:
            rows = _figures_of(lake, figure.name)
            picture = draw(figure, rows, labels) if _can_be_drawn(rows) else None
            shown.append(_section(figure, rows, picture))
            if picture:
                pictures[figure.title] = picture.png
                (temporary / f"{figure.name}.png").write_bytes(picture.png)
                (temporary / f"{figure.name}.svg").write_text(picture.svg, encoding="utf-8")
        small = caution_on_small_models(lake)
        page = _page(
            card=card,
            figures=shown,
            beside=_beside(lake),
            ranked=list(_ranked(lake)),
            small=[small] if small else [],
        )
        (temporary / REPORT_FILE).write_text(page, encoding="utf-8")
    return Report(folder, pictures)


def explainer_labels(config: Config) -> dict[str, str]:
    """The label of each explainer in figures: its name, with the number and the sampling of its examples."""
    labels = {name: name for name in config.explaining.explainers}
    for name in labels:
        own = getattr(config.explaining, name)
        if hasattr(own, "sampling"):
            sampling = own.sampling or config.explaining.sampling
            labels[name] = f"{name} ({own.n_examples or config.explaining.n_examples} {sampling})"
    return labels


def _beside(lake: Lake) -> dict[str, Any] | None:
    """Published figures, each with this experiment's own value; None if the config names none."""
    name = lake.config.report.beside
    if name is None:
        return None
    published = yaml.safe_load((PUBLISHED / f"{name}.yaml").read_text(encoding="utf-8"))
    rows = _figures_of(lake, _BESIDE[name]).to_dicts()
    for quantity, each in published["figures"].items():
        each["here"] = [row for row in rows if row["quantity"] == quantity and row["value"] is not None]
    return dict(published)


def _figures_of(lake: Lake, name: str) -> pl.DataFrame:
    """The rows of one of the report's SQL files."""
    quantiles = student_quantiles(lake.config.scoring.confidence, max(sae.n_features for sae in lake.config.saes))
    rows: pl.DataFrame = pl.from_arrow(  # type: ignore[assignment]
        read_rows(lake, name, given={"student_quantiles": quantiles})
    )
    return rows


def _can_be_drawn(rows: pl.DataFrame) -> bool:
    """Whether there is anything to draw: rows and, for requests, some whose tokens were counted."""
    return not rows.is_empty() and ("prompt_tokens" not in rows.columns or rows["prompt_tokens"].count() > 0)


def _section(figure: FigureOf, rows: pl.DataFrame, picture: Picture | None) -> dict[str, Any]:
    from markupsafe import Markup

    panels = [name for name in ("sae", "scorer", "other_scorer") if name in rows.columns]
    return {
        **figure._asdict(),
        "svg": Markup(inline(figure, picture)) if picture else None,  # from matplotlib, which escapes its texts
        "rows": rows.head(_MOST_ROWS).to_dicts(),
        "n_rows": rows.height,
        "columns": rows.columns,
        "numbers": [name for name, kind in rows.schema.items() if kind.is_numeric()],
        "n_more": max(0, rows.select(panels).n_unique() - 12) if panels and not rows.is_empty() else 0,
    }


def _ranked(lake: Lake) -> Iterator[dict[str, Any]]:
    """Per SAE, the best and the worst explanations, each with its window as pieces of text and their shades."""
    for sae in lake.config.sae_names:
        rows = lake.query("closing_best", sae=sae, n=_RANKED)
        vocabulary = load_vocabulary(lake) if rows.height else None
        yield {
            "sae": sae,
            "rows": [
                {**row, "pieces": _shaded(vocabulary, row) if vocabulary and row["token_ids"] else []}
                for row in rows.iter_rows(named=True)
            ],
        }


def _shaded(vocabulary: Vocabulary, row: dict[str, Any]) -> list[tuple[str, str]]:
    strengths = row["activations"]
    most = max(strengths) or 1.0
    return [
        (text, f"{0.85 * max(strengths[position] for position in positions) / most:.2f}")
        for text, positions in vocabulary.pieces(row["token_ids"])
    ]


def _page(**values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html").render(shown=_shown, **values)


def _shown(value: Any) -> str:
    """A table cell; floats have three significant digits."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        case _:
            return str(value)
