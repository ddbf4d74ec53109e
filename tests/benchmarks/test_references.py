"""The references made from the code: every default is YAML, and no table is empty."""

import re

import yaml

from benchmarks.pages.references import config_page

ROWS = re.findall(r"(?m)^\| (\w+) \| (required|`[^`]*`) \| (.*) \|$", config_page())


def test_every_default_is_what_yaml_reads() -> None:
    defaults = {key: yaml.safe_load(default.strip("`")) for key, default, _ in ROWS if default != "required"}
    assert len(ROWS) > 200 and len(ROWS) == len(re.findall(r"(?m)^\| \w+ \| [^d]", config_page()))
    assert (defaults["source"], defaults["centred"], defaults["seed"]) == (None, False, 0)
    assert (defaults["neighbours"], defaults["quotas"]) == ({}, {"llm": 16, "rule": 8})
    assert defaults["scorers"] == ["detection", "fuzzing"]


def test_every_key_has_a_meaning_and_every_table_a_row() -> None:
    assert [key for key, _, meaning in ROWS if not meaning] == []
    assert not re.search(r"\|---\|---\|---\|\n(?!\|)", config_page())


def test_the_kinds_of_a_corpus_follow_the_corpus() -> None:
    titles = re.findall(r"(?m)^## (.+)$", config_page())
    after = titles.index("corpus") + 1
    assert all(title.startswith("corpus.sources of kind") for title in titles[after : after + 4])
    assert titles[after + 3].endswith("delphi") and titles[after + 4] == "sampling"
