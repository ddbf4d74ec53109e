"""Hashes by which rows are drawn, as known values: the same in every version, or every drawing stage changes.

DuckDB's hash() may change between its versions. If a test here fails after an upgrade, the tables of a lake
would mix two draws: raise the `version` of every stage that draws (example_index; those after it that draw by
hash; selected_features is in no hash), then write the new values down here.
"""

import hashlib
import re
from pathlib import Path

import duckdb

from pipeline import scorers
from pipeline.tables.macros import create_macros
from pipeline.tables.sql import SQL_FOLDER
from pipeline.uncommented import sql_code

from .rows import SAE, Database, fill_firings
from .test_documents_and_slots import read_document, slots_of
from .test_example_index import corpus_database
from .test_routes_and_selection import select

CHANGED = "DuckDB's hash() has changed: raise the version of all drawing stages in pipeline/tables/stages.py"


def one_value(expression):
    with duckdb.connect() as connection:
        create_macros(connection)
        ((value,),) = connection.sql(f"select {expression}").fetchall()
    return value


def test_a_draw_hashes_its_values_one_after_another_whatever_the_width_of_whole_numbers():
    for values in ("'a', 7::int, 'why'", "'a', 7::hugeint, 'why'", "null::varchar, 2.5::float, 'why'", "'only'"):
        identity = f"row({values})"
        assert one_value(f"draw_hash(-3, {identity}) = hash(-3::bigint, {values.replace('hugeint', 'int')})")


# Draws of the same things by the plain hash, whose orders are therefore related: of contexts and documents for
# different uses, where neither is a sample of the other.
RELATED = {("context_id",), ("doc_id",)}


def test_the_same_things_are_drawn_by_the_plain_hash_once():
    """Two such draws would be related: `draw_hash` says why."""
    paths = [*SQL_FOLDER.rglob("*.sql"), *(Path(scorers.__file__).parent).rglob("*.sql")]
    draws = {}
    for text in (sql_code(path.read_text(encoding="utf-8")) for path in paths):
        for before, identity in re.findall(r"(hash\(\s*)?draw_hash\(\s*\$seed,\s*\(([^()]*)\)", text):
            *things, purpose = (part.strip().split(".")[-1] for part in identity.split(","))
            if purpose.startswith("'") and not before:
                draws.setdefault(tuple(things), set()).add(purpose)
    assert len(draws) > 8
    assert {things for things, purposes in draws.items() if len(purposes) > 1} == RELATED


def test_hash_of_a_slot_is_the_known_one():
    value = one_value(f"draw_hash(0, ('{SAE}'::varchar, 7::int, 'train', 3::bigint, 1::int, 'example'))")
    assert value == 2376295842394633217, CHANGED


def test_hash_of_a_silent_slot_is_the_known_one():
    lot = one_value(f"draw_hash(0, ('{SAE}'::varchar, 3::bigint, 1::int, 'silent'))")
    assert lot == 11173659213367882007, CHANGED
    assert one_value(f"hash(xor({lot}::ubigint, 7::ubigint))") == 16188802465431617809, CHANGED


def test_hash_of_a_selection_is_the_known_one():
    value = one_value(f"draw_hash(0, ('{SAE}'::varchar, 7::int, 'selected'))")
    assert value == 12154874074748887486, CHANGED


def test_hashes_of_a_scrambled_text_are_the_known_ones():
    place = one_value("draw_hash(0, (7::int, 1::int, 'place'))")
    filler = one_value("draw_hash(0, (7::int, 1::int, 3::int, 'filler'))")
    candidate = one_value(f"draw_hash(0, ('{SAE}'::varchar, 7::int, 'scrambled'))")
    assert (place, filler) == (4863584801665106617, 3078734044807003820), CHANGED
    assert candidate == 4348260536566877178, CHANGED


def test_activating_slots_are_drawn_in_the_known_order():
    database = corpus_database(n_contexts=8)
    fill_firings(database, [(0, context, 3) for context in range(8)])
    rows = database.run_stage("example_index")
    orders = {
        role: [row["context_id"] for row in sorted(rows, key=lambda row: row["draw"]) if row["role"] == role]
        for role in ("train", "test")
    }
    assert orders == {"train": [4, 0, 6, 2], "test": [5, 1, 7, 3]}, CHANGED


def test_slots_themselves_have_the_hash_that_the_expression_has():
    database = corpus_database(n_contexts=4)
    fill_firings(database, [(7, 2, 3)])
    database.make_before("active_slots")
    expected = one_value(f"draw_hash(0, ('{SAE}'::varchar, 7::int, 'train', 2::bigint, 1::int, 'example'))")
    assert [row["lot"] for row in database.rows("active_slots")] == [expected]


def test_features_are_selected_in_the_known_order():
    rows = select(["llm"] * 50, quota_routes=["llm"], quota_sizes=[5])
    assert [row["feature"] for row in rows] == [8, 19, 22, 24, 39], CHANGED


def test_md5_numbers_are_the_known_ones():
    assert one_value("md5_number_lower('0 role unit 0')") == 5355612010035554277
    assert one_value("md5_number_lower('0 slots 0')") == 12383106077728637358
    low_half = hashlib.md5(b"0 slots 0").digest()[8:]
    assert int.from_bytes(low_half, "little") == 12383106077728637358


def test_roles_are_the_known_ones():
    database = Database(seed=0, corpus_test_share=0.5)
    database.fill("read_documents", [read_document(i) for i in range(10)])
    roles = [row["role"] for row in database.rows("documents")]
    assert [i for i, role in enumerate(roles) if role == "test"] == [0, 1, 7, 8]


def test_slots_begin_at_the_known_places():
    slots, _ = slots_of([("train", range(64 * 8))], seed=0)
    assert [(row["context_id"], row["start"]) for row in slots] == [
        (0, 15), (0, 47), (1, 4), (1, 36), (2, 2), (2, 34), (3, 1), (3, 19), (4, 1), (4, 19), (5, 12), (5, 44),
        (6, 1), (6, 27), (7, 1), (7, 32),
    ]  # fmt: skip
