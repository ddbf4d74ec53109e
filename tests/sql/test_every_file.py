"""Each SQL file runs on empty tables, and those that make a table have its columns."""

import re

import pytest

from pipeline.tables import TABLES
from pipeline.tables.sql import config_value, parameters_of, sql_files, sql_text
from pipeline.tables.stages import STAGES

from .rows import CONFIG, Database, steps_before

FILES = sorted(sql_files())
GIVEN = {
    *(name for stage in STAGES.values() for name in stage.given_values),
    *("model", "n", "explainer", "neuronpedia_creator", "layer", "folder"),
    *("feature", "words", "tokens", "route", "least_score", "most_score", "least_density"),
    *("most_density", "is_explained", "sort", "page_rows", "first_row", "strongest", "of_a_decile", "of_a_way"),
    *("explanation_id", "explanation_sha256", "request_id", "rater", "features", "is_by_meaning"),
    *("n_explanations", "statement", "least_slots"),
}
"""Parameters that the pipeline gives beside those of the config."""


@pytest.mark.parametrize("name", FILES)
def test_file_runs_on_empty_tables(name):
    database = Database()
    database.make(*steps_before(name))
    rows = database.table(name)
    if name in TABLES:
        assert rows.schema.names == TABLES[name].schema.names
        assert rows.num_rows == 0
    if name.startswith("checks/"):
        assert rows.num_rows == 0
    if name.startswith("figures/"):
        assert rows.schema.names == ["figure", "value"]


@pytest.mark.parametrize("name", FILES)
def test_parameters_are_given_or_keys_of_the_config(name):
    for parameter in parameters_of(sql_text(name)):
        if parameter not in GIVEN:
            config_value(CONFIG, parameter)  # raises ConfigError for what is no key


@pytest.mark.parametrize("name", FILES)
def test_file_begins_with_what_its_rows_are(name):
    assert re.match(r"-- .*\brows?\b", sql_text(name))
