"""`docs/tables.md` and `docs/config.md`: the references, from `pipeline/tables/` and `pipeline/config/`."""

import re
from collections.abc import Iterable, Iterator
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config import Config, DelphiRows, FileTexts, HubTexts, PythonTexts, SaeConfig, ScorerModelConfig
from pipeline.tables import TABLES, Table
from pipeline.tables.corpus import CORPUS
from pipeline.tables.examples import EXAMPLES
from pipeline.tables.explanations import EXPLANATIONS
from pipeline.tables.features import FEATURES
from pipeline.tables.firings import FIRINGS
from pipeline.tables.schema import type_name
from pipeline.tables.scores import SCORES
from pipeline.tables.stages import STAGES

# No topic may be named like a table: a table's heading has that anchor.
_TOPICS = {
    "Corpus and SAEs": CORPUS,
    "Where features fire": FIRINGS,
    "What is known about features": FEATURES,
    "Examples and interventions": EXAMPLES,
    "Explanations and requests": EXPLANATIONS,
    "Questions, scores and their means": SCORES,
}

_FIRST = ("feature_stats", "feature_routes", "examples", "explanations", "scores", "summary")

_ROOTS = {
    "saes": "the SAE files",
    "documents": "the corpus",
    "tokens": "the tokenizer",
    "llm_requests": "the ledger",
    "ratings": "readers, in the explorer",
}


_LISTED: dict[str, list[tuple[str, type[BaseModel]]]] = {
    "subject": [("saes (a list)", SaeConfig)],
    "corpus": [
        ("corpus.sources of kind python", PythonTexts),
        ("corpus.sources of kind text, jsonl or parquet", FileTexts),
        ("corpus.sources of kind hub", HubTexts),
        ("corpus.sources of kind delphi", DelphiRows),
    ],
    "scoring": [("scoring.models (by name)", ScorerModelConfig)],
}
"""After a section: those that a list or a mapping of the config holds."""


def tables_page() -> str:
    """`docs/tables.md`."""
    return (
        "# The tables\n\nEvery table of a lake: what one row is, what it is made from, and every column. "
        '`make sql Q="from TABLE limit 5"` shows\none; the [cookbook](cookbook.md) has queries to start from. '
        "Counts, density and firing quantiles are over all documents;\nwhat an explainer, a rule or a route looks "
        "at comes from train documents only. [Terms](terms.md) defines the words.\n\n"
        "(Made from `pipeline/tables/` by `make docs`.)\n\n## Read these first\n\n"
        + "\n".join(f"- {_link(TABLES[name])}: {TABLES[name].row}" for name in _FIRST)
        + "\n\n## All tables\n\n"
        + "\n\n".join(f"### {topic}\n\n{_table_list(tables)}" for topic, tables in _TOPICS.items())
        + "\n\n## Columns\n\n"
        + _table_reference()
    )


def _table_reference() -> str:
    """Every table with its columns, as Markdown."""
    lines = []
    for table in TABLES.values():
        lines += [f"### {table.name}", "", table.row, f"Key: {', '.join(table.key)}.", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        for column in table.columns:
            lines.append(f"| {column.name} | {type_name(column.type)} | {column.words} |")
        lines += [f"| {each.name} | computed | {each.meaning} |" for each in table.derived]
        lines.append("")
    return "\n".join(lines)


def config_page() -> str:
    """`docs/config.md`."""
    sections = _sections(Config)
    contents = ", ".join(f"[{title}](#{_anchor(title)})" for title, _ in sections[1:] if "." not in title)
    parts = [
        "# The config\n\nEvery key of an experiment's YAML file, with its default and where that comes from. "
        "[config/demo.yaml](../config/demo.yaml)\nis a short one to copy, and `make config FROM=…` writes one for "
        "[your SAE](your-sae.md). Most experiments set `name`,\n`subject.model`, `corpus.sources`, `saes`, and "
        "who explains and scores. Relative paths start at the folder in which\nthe command is run; a path below "
        "`config/` that does not exist here is taken from the files that ship with latentlake.\n\n"
        "`extends: other.yaml` takes the keys of a file in the same folder; its own keys override them. A plug-in "
        "whose default\nis `{}` has no keys. Keys *in no stage hash* can change without remaking a table. "
        "[Terms](terms.md) and [sources](sources.md)\nexplain words and citations.\n\n"
        f"(Made from `pipeline/config/` by `make docs`.)\n\nSections: {contents}\n"
    ]
    for title, model in sections:
        parts.append(f"## {title}\n\n{(model.__doc__ or '').strip()}\n")
        rows = [
            f"| {key} | {_default(field)} | {field.description or _choices(field)} |"
            for key, field in model.model_fields.items()
            if not _section_of(field)
        ]
        if rows:  # `endpoints` has only sections
            parts += ["| key | default | meaning |\n|---|---|---|", *rows, ""]
    return "\n".join(parts)


def _table_list(tables: Iterable[Table]) -> str:
    """Each table in one line: what a row is, and what the table is made from."""
    lines = ["| table | rows | made from |", "|---|---|---|"]
    lines += [f"| {_link(table)} | {table.row} | {_made_from(table.name)} |" for table in tables]
    return "\n".join(lines)


def _made_from(table: str) -> str:
    if table in _ROOTS:
        return _ROOTS[table]
    if STAGES[table].makes_unwritten:
        return "the inputs of the tables that it makes without writing them"
    return ", ".join(STAGES[table].inputs)


def _link(table: Table) -> str:
    return f"[{table.name}](#{table.name})"


def _anchor(heading: str) -> str:
    """The fragment by which GitHub links to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _sections(model: type[BaseModel]) -> list[tuple[str, type[BaseModel]]]:
    """The config's sections with their titles, lists of sections included."""
    found = [("top level", model)]
    for title, section in _below(model, ""):
        found += [(title, section), *_LISTED.get(title, ())]
    return found


def _below(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The sections below a section at any depth, by their dotted names."""
    for key, field in model.model_fields.items():
        if section := _section_of(field):
            yield f"{prefix}{key}", section
            yield from _below(section, f"{prefix}{key}.")


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field holds, such as a plug-in's settings; None for a plain key or an empty section."""
    section = field.annotation
    if isinstance(section, type) and issubclass(section, BaseModel) and section.model_fields:
        return section
    return None


def _choices(field: FieldInfo) -> str:
    """The values that a key accepts, if they are a closed set."""
    return " or ".join(f"`{value}`" for value in get_args(field.annotation))


def _default(field: FieldInfo) -> str:
    """The default as YAML writes it."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    match value:
        case BaseModel():
            shown = "{}"  # of a plug-in without keys
        case None:
            shown = "null"
        case bool():
            shown = str(value).lower()
        case tuple():
            shown = f"[{', '.join(map(str, value))}]"
        case dict():
            shown = f"{{{', '.join(f'{key}: {each}' for key, each in value.items())}}}"
        case _:
            shown = str(value)
    return f"`{shown}`".replace("|", "\\|")
