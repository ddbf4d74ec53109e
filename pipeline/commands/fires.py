"""`make fires TEXT="…"`: the features that fire on a text, and what is known about them."""

from rich.table import Table

from pipeline.commands.spelled import spelled
from pipeline.config import load_config
from pipeline.errors import CorpusError
from pipeline.show.notebook import fires, known_misfits
from pipeline.show.terminal import plain_console, printable

_ROWS = 25


def print_fires(path: str, text: str) -> None:
    """Print the features that fire most strongly on a text. Raises CorpusError if the text is blank."""
    if not text.strip():
        raise CorpusError("no text; write " + spelled('make fires TEXT="…"', 'latentlake fires CONFIG "…"'))
    config = load_config(path)
    rows = fires(config, text)
    of_one = len(config.saes) == 1
    whose = f" of {config.sae_names[0]}" if of_one else ""
    title = f"{rows.height} features{whose} fire; the {min(_ROWS, rows.height)} strongest"
    table = Table(title=title, title_justify="left")
    if not of_one:
        table.add_column("sae", no_wrap=True)
    for name in ("feature", "peak"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("on", overflow="fold")
    table.add_column("route", no_wrap=True)
    table.add_column("in words", overflow="fold", ratio=1)
    for row in rows.head(_ROWS).iter_rows(named=True):
        tokens = list(dict.fromkeys(row["tokens"]))[:3]
        words = printable(row["words"] or "")
        table.add_row(
            *([] if of_one else [row["sae"]]),
            str(row["feature"]),
            f"{row['activation']:.1f}",
            " ".join(f"'{printable(token)}'" for token in tokens),
            row["route"] or "",
            words if len(words) <= 90 else words[:89] + "…",
        )
    console = plain_console()
    console.print(table)
    for sentence in known_misfits(config):
        console.print(printable(sentence), style="bold red")
