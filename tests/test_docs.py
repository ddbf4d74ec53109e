"""The pages say what is there: every link, anchor, command, option, statement and quoted error exists."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from assets.command import commands
from pipeline.config import load_config
from pipeline.lake import open_catalog

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.name for page in PAGES]
GENERATED = {"cookbook.md"}
"""Its queries are in `sql/cookbook/`, and have a test of their own."""


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def code_of(page: Path) -> str:
    """What a page shows as code: its fences, and its spans, one a line."""
    fenced = re.compile(r"(?ms)^ *```\w*\n(.*?)^ *```")
    spans = re.findall(r"`([^`]+)`", fenced.sub("", text_of(page)))
    return "\n".join([*fenced.findall(text_of(page)), *(" ".join(span.split()) for span in spans)])


@cache
def anchors_of(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    prose = re.sub(r"(?ms)^```.*?^```", "", text_of(page))
    headings = re.findall(r"(?m)^#+ (.+)$", prose)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_to_a_file_and_a_heading_in_it(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", text_of(page)):
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors_of(linked.resolve()), f"{page.name} links to {target}#{anchor}"


def test_the_readme_is_short() -> None:
    assert len(text_of(PAGES[0]).splitlines()) <= 130


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, left = {PAGES[0]}, [PAGES[0]]
    while left:
        page = left.pop()
        for target in re.findall(r"\]\(([^)#:\s]+\.md)", text_of(page)):
            if (linked := (page.parent / target).resolve()) in PAGES and linked not in seen:
                seen.add(linked)
                left.append(linked)
    assert seen == {*PAGES}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_make_target_and_variable_is_one_of_the_makefile(page: Path) -> None:
    makefile = text_of(ROOT / "Makefile")
    targets = {*re.findall(r"(?m)^([a-z-]+):", makefile)}
    given = re.findall(r"(?m)^([A-Z]+) +\?=|\$\((?:value |or \$\()?([A-Z]+)\b", makefile)
    variables = {name for names in given for name in names}
    for target, rest in re.findall(r"(?m)^(?:\$ )?make ([a-z-]+)(.*)$", code_of(page)):
        assert target in targets, f"{page.name}: make {target}"
        for variable in re.findall(r"(?:^|\s|\[)([A-Z]{2,})=", re.sub(r'"[^"]*"', "", rest)):
            assert variable in variables, f"{page.name}: make {target} {variable}="


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_of_latentlake_has_the_options_that_it_is_shown_with(page: Path) -> None:
    for name, rest in re.findall(r"(?:^|[(\"\s])latentlake ([a-z-]+)(.*)", code_of(page)):
        assert name in commands.commands, f"{page.name}: latentlake {name}"
        known = {option for each in commands.commands[name].params for option in each.opts}
        for option in re.findall(r"(?<=\s)--[a-z-]+", rest):
            assert option in known, f"{page.name}: latentlake {name} {option}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_module_that_is_to_be_run_exists(page: Path) -> None:
    for module in re.findall(r"python -m\s+(benchmarks[\w.]*)", text_of(page)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{page.name}: {module}"
    for path in re.findall(r"`((?:tests|pipeline|sql|assets|benchmarks|config)/[\w./-]+)`", text_of(page)):
        assert path in EXAMPLES or (ROOT / path).exists(), f"{page.name}: {path}"


EXAMPLES = {
    *("config/NAME.yaml", "config/mine.yaml"),
    "pipeline/explainers/default_top/",
    "sql/exports/my_features.sql",
}
"""Files that a reader would make."""


def statements(page: Path) -> Iterator[str]:
    """The SQL in a page: in fences, and after `make sql Q=`."""
    yield from re.findall(r"(?ms)^```sql\n(.*?)^```", text_of(page))
    for quoted in re.findall(r'make sql (?:CONFIG=\S+ )?Q="([^"]+)"', text_of(page)):
        if "…" not in quoted and "TABLE" not in quoted:
            yield quoted


@pytest.mark.whole
def test_every_statement_in_the_pages_runs_on_a_small_lake(finished: Path) -> None:
    found = [(page.name, each) for page in PAGES if page.name not in GENERATED for each in statements(page)]
    assert len(found) >= 4
    with open_catalog(load_config(finished).lake_folder) as connection:
        for name, statement in found:
            if "$" not in statement:  # those with a parameter are a plug-in's
                connection.execute(statement).fetchall()
            assert statement, name


@cache
def words_of_the_program() -> str:
    """Every string of the program, one a line; what an f-string fills in is `…`."""
    lines = [text_of(ROOT / "Makefile")]
    for folder in ("pipeline", "assets"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(text_of(path))):
                if isinstance(node, ast.JoinedStr):
                    parts = [each.value if isinstance(each, ast.Constant) else "…" for each in node.values]
                    lines.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    lines.append(node.value)
    return "\n".join(lines)


def test_every_error_that_is_quoted_is_one_that_the_program_raises() -> None:
    page = text_of(ROOT / "docs" / "troubleshooting.md").partition("## Results that surprise")[0]
    quoted = re.findall(r"(?m)^\| `([^`]+)` \|", page)
    assert len(quoted) > 20
    assert [each for each in quoted if each not in words_of_the_program()] == []
