"""Documents, contexts, slots and placed tokens: how the corpus is cut."""

import hashlib
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest

from .rows import Database, Document, by, fill_corpus

LENGTH = 64
"""Tokens of a context in the tests of slots."""


def read_document(ordinal, token_ids=(1, 2, 3), doc_id=None, unit=None):
    return {
        "ordinal": ordinal,
        "doc_id": doc_id or f"{ordinal:032x}",
        "source": "hand",
        "unit": unit or f"unit {ordinal}",
        "text": f"text {ordinal}",
        "token_ids": list(token_ids),
    }


def md5_low(text):
    """The low 64 bits of an MD5 digest: its last eight bytes, the first of them the lowest."""
    return int.from_bytes(hashlib.md5(text.encode()).digest()[8:], "little")


# Books --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def books():
    """A document of 200,000 tokens (800 kB) in each role, without a run in common, where 150 MB may be used."""
    draw = np.random.default_rng(0)
    database = Database(context_length=256, threads=1)
    documents = [Document(role, draw.integers(0, 900, 200_000).tolist()) for role in ("train", "test")]
    fill_corpus(database, documents, slot_tokens=32)
    [[before]] = database.connection.sql("select current_setting('memory_limit')").fetchall()
    database.connection.execute("set memory_limit = '150MB'")
    yield database
    database.connection.execute(f"set memory_limit = '{before}'")


def test_a_book_is_cut_into_contexts_that_hold_all_its_tokens_in_order(books):
    rows = books.rows("contexts")
    assert len(rows) == 2 * 782
    assert [token for row in rows for token in row["token_ids"]] == [
        token for row in books.read("documents") for token in row["token_ids"]
    ]


def test_words_of_a_book_are_counted_without_a_copy_of_it_for_each_slot(books):
    books.make_before("train_words")
    assert sum(row["n"] for row in books.rows("train_words") if row["kind"] == "token") == 200_000 - 782


def test_a_book_is_compared_without_a_copy_of_it_for_each_token(books):
    assert books.rows("checks/no_test_candidate_in_train") == []


# Documents ----------------------------------------------------------------------------------------------


def test_first_of_equal_documents_stays():
    database = Database()
    database.fill(
        "read_documents",
        [
            read_document(2, doc_id="b", unit="third"),
            read_document(1, doc_id="a", unit="second"),
            read_document(0, doc_id="b", unit="first"),
        ],
    )
    kept = [(row["doc_id"], row["unit"]) for row in database.rows("documents")]
    assert kept == [("a", "second"), ("b", "first")]


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_contexts_are_numbered_without_gaps_along_the_documents(prepend_bos):
    lengths = [1, 7, 8, 9, 14, 15, 16, 17, 40]
    database = Database(context_length=8, corpus_prepend_bos=prepend_bos)
    database.fill("read_documents", [read_document(i, range(n)) for i, n in enumerate(lengths)])
    documents = database.rows("documents")
    own = 8 - prepend_bos
    first = 0
    for row, n_tokens in zip(documents, lengths, strict=True):
        assert (row["n_tokens"], row["first_context_id"]) == (n_tokens, first)
        first += -(-n_tokens // own)


def test_shards_are_contiguous_and_hold_equal_parts_of_the_contexts():
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 50, 400)
    database = Database(context_length=8, corpus_shards=7)
    database.fill("read_documents", [read_document(i, range(n)) for i, n in enumerate(lengths)])
    documents = sorted(database.rows("documents"), key=lambda row: row["first_context_id"])
    shards = [row["shard"] for row in documents]
    assert shards == sorted(shards)
    assert set(shards) == set(range(7))
    n_contexts = Counter()
    for row in documents:
        n_contexts[row["shard"]] += -(-row["n_tokens"] // 8)
    even = sum(n_contexts.values()) / 7
    assert all(abs(n - even) <= 2 * 7 for n in n_contexts.values()), "off by more than a document at each end"


def test_one_document_lies_in_the_first_shard():
    database = Database(corpus_shards=4)
    database.fill("read_documents", [read_document(0, range(100))])
    [row] = database.rows("documents")
    assert (row["shard"], row["first_context_id"], row["n_tokens"]) == (0, 0, 100)


def test_pieces_of_one_unit_share_a_role():
    database = Database(seed=5)
    database.fill("read_documents", [read_document(i, unit=f"module {i % 40}") for i in range(400)])
    roles = defaultdict(set)
    for row in database.rows("documents"):
        roles[row["unit"]].add(row["role"])
    assert all(len(each) == 1 for each in roles.values())
    assert set.union(*roles.values()) == {"train", "test"}


def test_role_depends_on_seed_and_unit_alone():
    rows = [read_document(i, unit=f"module {i}") for i in range(50)]
    others = [read_document(i, unit=f"other {i}") for i in range(50, 120)]
    database = Database(seed=5)
    database.fill("read_documents", rows)
    alone = {row["unit"]: row["role"] for row in database.rows("documents")}
    database.fill("read_documents", [*others, *reversed(rows)])
    among_others = {row["unit"]: row["role"] for row in database.rows("documents")}
    other_seed = {row["unit"]: row["role"] for row in database.rows("documents", seed=6)}
    assert alone == {unit: among_others[unit] for unit in alone}
    assert alone != {unit: other_seed[unit] for unit in alone}


@pytest.mark.parametrize("test_share", [0.2, 0.5, 0.9])
def test_share_of_test_units_is_near_the_configured_one(test_share):
    n_units = 4000
    database = Database(corpus_test_share=test_share)
    database.fill("read_documents", [read_document(i, [1]) for i in range(n_units)])
    n_test = sum(row["role"] == "test" for row in database.rows("documents"))
    deviation = (n_test - n_units * test_share) / np.sqrt(n_units * test_share * (1 - test_share))
    assert abs(deviation) < 4


def test_role_is_drawn_by_md5_of_seed_and_unit():
    database = Database(seed=3, corpus_test_share=0.4)
    database.fill("read_documents", [read_document(i, unit=f"README {i}") for i in range(200)])
    for row in database.rows("documents"):
        is_test = md5_low(f"3 role {row['unit']}") / 2**64 < 0.4
        assert row["role"] == ("test" if is_test else "train")


def test_document_counts_are_tokens_by_role_and_units():
    database = Database()
    fill_corpus(database, [Document("train", range(5)), Document("test", range(9)), Document("test", range(1))])
    counts = {row["figure"]: row["value"] for row in database.rows("figures/documents")}
    assert counts == {"tokens": 15, "train_tokens": 5, "test_tokens": 10, "units": 3}


# Contexts -----------------------------------------------------------------------------------------------


def test_contexts_keep_ends_of_documents_and_share_nothing():
    database = Database(context_length=8)
    fill_corpus(database, [Document("train", range(0, 19)), Document("test", range(100, 108))])
    assert [(row["context_id"], row["doc_id"], row["token_ids"]) for row in database.rows("contexts")] == [
        (0, "d0", list(range(0, 8))),
        (1, "d0", list(range(8, 16))),
        (2, "d0", [16, 17, 18]),
        (3, "d1", list(range(100, 108))),
    ]


def test_each_context_begins_with_the_bos():
    database = Database(context_length=8, bos_token_id=[0], corpus_prepend_bos=True)
    database.fill("read_documents", [read_document(0, range(1, 17)), read_document(1, [30])])
    database.make("documents")
    assert [(row["context_id"], row["token_ids"]) for row in database.rows("contexts", shard=0)] == [
        (0, [0, 1, 2, 3, 4, 5, 6, 7]),
        (1, [0, 8, 9, 10, 11, 12, 13, 14]),
        (2, [0, 15, 16]),
    ]
    assert [(row["context_id"], row["token_ids"]) for row in database.rows("contexts", shard=3)] == [(3, [0, 30])]


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_contexts_of_all_shards_hold_every_token_once(prepend_bos):
    rng = np.random.default_rng(2)
    bos = [9999] if prepend_bos else []
    database = Database(context_length=8, corpus_shards=3, corpus_prepend_bos=prepend_bos, bos_token_id=bos)
    read = [read_document(i, rng.integers(0, 500, n).tolist()) for i, n in enumerate(rng.integers(1, 40, 60))]
    database.fill("read_documents", read)
    database.make("documents")
    contexts = [row for shard in range(3) for row in database.rows("contexts", shard=shard)]
    assert [row["context_id"] for row in contexts] == list(range(len(contexts)))
    joined = defaultdict(list)
    for row in contexts:
        assert len(row["token_ids"]) <= 8
        assert row["token_ids"][: len(bos)] == bos
        joined[row["doc_id"]] += row["token_ids"][len(bos) :]
    assert joined == {row["doc_id"]: row["token_ids"] for row in read}


def test_shard_tokens_count_the_shards_contexts():
    database = Database(context_length=8)
    fill_corpus(database, [Document("train", range(19))])
    assert database.rows("shard_tokens", shard=0) == [{"n_tokens": 19}]
    assert database.rows("shard_tokens", shard=1) == [{"n_tokens": 0}]


# Slots --------------------------------------------------------------------------------------------------


def slots_of(documents, prepend_bos=False, **values):
    """The slots of documents with contexts of 64, and the database with all that was made."""
    bos = [9999] if prepend_bos else []
    database = Database(LENGTH, corpus_prepend_bos=prepend_bos, bos_token_id=bos, corpus_shards=1, **values)
    database.fill("read_documents", [read_document(i, token_ids) for i, (_, token_ids) in enumerate(documents)])
    database.make("documents")
    rows = database.read("documents")
    for row, (role, _) in zip(rows, documents, strict=True):
        row["role"] = role
    database.fill("documents", rows)
    database.make("contexts", "slots")
    return database.read("slots"), database


def reference_slots(context_id, n_tokens, seed):
    """(start, length) of a context's slots by walking its positions from 1 on; borders 32 apart at the offset."""
    shift = md5_low(f"{seed} slots {context_id}") % 32
    cuts = sorted({1, n_tokens, *(1 + shift + 32 * i for i in range(9) if 1 + shift + 32 * i < n_tokens)})
    pieces = [(start, end - start) for start, end in pairwise(cuts)]
    return [(start, length) for start, length in pieces if length >= 16]


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_slots_are_the_pieces_of_16_tokens_or_more_between_borders_at_a_hashed_offset(prepend_bos):
    rng = np.random.default_rng(3)
    documents = [("train", range(n)) for n in (1, 2, 16, 17, 33, 64, 65, *rng.integers(20, 300, 60))]
    slots, database = slots_of(documents, prepend_bos, seed=11)
    found = defaultdict(list)
    for row in slots:
        found[row["context_id"]].append((row["start"], row["n_tokens"]))
    for context in database.read("contexts"):
        expected = reference_slots(context["context_id"], len(context["token_ids"]), seed=11)
        assert found[context["context_id"]] == expected
    shifts = {start for starts in found.values() for start, length in starts if length == 32}
    assert len(shifts) > 20, "the offset varies from context to context"


def test_slots_never_overlap_and_begin_at_position_1_or_later():
    rng = np.random.default_rng(4)
    slots, database = slots_of([("test", range(n)) for n in rng.integers(1, 400, 40)])
    lengths = {row["context_id"]: len(row["token_ids"]) for row in database.read("contexts")}
    covered = Counter()
    for row in slots:
        assert 16 <= row["n_tokens"] <= 32
        assert 1 <= row["start"] <= lengths[row["context_id"]] - row["n_tokens"]
        covered.update((row["context_id"], row["start"] + i) for i in range(row["n_tokens"]))
    assert max(covered.values()) == 1
    assert len(slots) == len({(row["context_id"], row["start"]) for row in slots})


def test_tokens_in_no_slot_are_counted():
    slots, database = slots_of([("train", range(64)), ("test", range(100, 110)), ("test", range(200, 230))])
    counts = {row["figure"]: row["value"] for row in database.rows("figures/slots")}
    assert counts == {
        "slots": len(slots),
        "copied_test_slots": 0,
        "test_slots": sum(row["role"] == "test" for row in slots),
        "tokens_in_no_slot": 104 - sum(row["n_tokens"] for row in slots),
    }


def test_all_tokens_are_in_no_slot_where_there_is_none():
    slots, database = slots_of([("train", range(10))])
    assert slots == []
    assert {"figure": "tokens_in_no_slot", "value": 10} in database.rows("figures/slots")


def test_slots_keep_their_documents_role():
    slots, database = slots_of([("train", range(100)), ("test", range(100, 200))])
    roles = {row["doc_id"]: row["role"] for row in database.read("documents")}
    assert {row["role"] for row in slots} == {"train", "test"}
    assert all(row["role"] == roles[row["doc_id"]] for row in slots)


# Copied slots -------------------------------------------------------------------------------------------


def copied_by_reference(train, test, n_run=32):
    """Places of a test document inside a run that stands in a train document, by comparing the lists."""
    runs = {tuple(each[i : i + n_run]) for each in train for i in range(len(each) - n_run + 1)}
    copied = set()
    for i in range(len(test) - n_run + 1):
        if tuple(test[i : i + n_run]) in runs:
            copied.update(range(i, i + n_run))
    return copied


def stands_in(whole, tokens):
    return any(list(tokens[i : i + len(whole)]) == list(whole) for i in range(len(tokens) - len(whole) + 1))


def with_run(rng, length, place, run):
    """A document of fresh tokens that holds a run at a place."""
    tokens = rng.integers(1000, 1_000_000, length)
    tokens[place : place + len(run)] = run
    return tokens.tolist()


def check_copied_slots(train, test, prepend_bos=False):
    """Hold is_copied of every slot against the reference; how many test slots are copied."""
    documents = [("train", each) for each in train] + [("test", each) for each in test]
    slots, database = slots_of(documents, prepend_bos)
    first = {row["doc_id"]: row["first_context_id"] for row in database.read("documents")}
    copied = {f"{len(train) + i:032x}": copied_by_reference(train, each) for i, each in enumerate(test)}
    tokens = {row["doc_id"]: row["token_ids"] for row in database.read("documents")}
    own = LENGTH - prepend_bos
    for row in slots:
        place = (row["context_id"] - first[row["doc_id"]]) * own + row["start"] - prepend_bos
        is_copied = bool(copied.get(row["doc_id"], set()) & set(range(place, place + row["n_tokens"])))
        whole = tokens[row["doc_id"]][place : place + row["n_tokens"]]
        is_copied |= row["role"] == "test" and any(stands_in(whole, each) for each in train)
        assert row["is_copied"] is is_copied, row
        assert row["is_candidate"] is not is_copied
    return sum(row["is_copied"] for row in slots)


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_test_slot_touching_a_copied_run_at_any_offset_is_copied(prepend_bos):
    rng = np.random.default_rng(5)
    # The run stands at every offset once: inside a context, across its border, partly in two slots.
    run = rng.integers(0, 1000, 32).tolist()
    train = [with_run(rng, 150, 77, run)]
    test = [with_run(rng, 170, place, run) for place in range(0, 139)]
    n_copied = check_copied_slots(train, test, prepend_bos)
    assert n_copied > len(test)


def test_one_token_of_overlap_makes_a_slot_copied():
    rng = np.random.default_rng(6)
    slots, _ = slots_of([("test", rng.integers(0, 1000, 64))])
    start = next(row["start"] for row in slots if row["start"] + row["n_tokens"] < 64)
    end = start + next(row["n_tokens"] for row in slots if row["start"] == start)
    for place, is_copied in ((end - 1, True), (end, False)):
        test = rng.integers(0, 1000, 128).tolist()
        train = with_run(rng, 64, 10, test[place : place + 32])
        # The test document is first, so that its context 0 is cut as above.
        slots, _ = slots_of([("test", test), ("train", train)])
        assert by(slots, "context_id", "start")[0, start]["is_copied"] is is_copied


def test_31_equal_tokens_are_no_copy():
    rng = np.random.default_rng(7)
    run = rng.integers(0, 1000, 31).tolist()
    train = [with_run(rng, 150, 40, run)]
    test = [with_run(rng, 150, place, run) for place in range(0, 119, 7)]
    slots, _ = slots_of([("train", each) for each in train] + [("test", each) for each in test])
    check_copied_slots(train, test)
    # But for what is short enough to stand in them whole.
    assert {row["n_tokens"] < 32 for row in slots if row["is_copied"]} == {True}


@pytest.mark.parametrize("prepend_bos", [False, True])
@pytest.mark.parametrize("n_tokens", [17, 18, 24, 31, 32, 33])
def test_short_test_document_that_stands_whole_in_a_train_document_is_copied(n_tokens, prepend_bos):
    rng = np.random.default_rng(n_tokens)
    test = [rng.integers(0, 1000, n_tokens).tolist() for _ in range(12)]
    # As part of a longer one, with one more token, and the same but for the last one.
    train = [with_run(rng, 90, 40, test[0]), *([*each, 5] for each in test[1:6])]
    train += [each[:-1] for each in test[6:]]
    n_copied = check_copied_slots(train, test, prepend_bos)
    documents = [("train", each) for each in train] + [("test", each) for each in test]
    slots, database = slots_of(documents, prepend_bos)
    first = {f"{len(train) + i:032x}" for i in range(6)}
    of_first = [row for row in slots if row["doc_id"] in first]
    assert of_first and all(row["is_copied"] for row in of_first)
    assert n_copied >= len(of_first)
    assert database.rows("checks/no_test_candidate_in_train") == []


@pytest.mark.parametrize("min_slot_tokens", [1, 3, 8])
def test_slots_of_a_few_tokens_are_copied_where_they_stand_in_a_train_document(min_slot_tokens):
    rng = np.random.default_rng(12)
    lengths = {"train": (5, 20, 70, 600), "test": range(6, 90, 3)}
    documents = [(role, rng.integers(0, 2, n).tolist()) for role in lengths for n in lengths[role]]
    slots, database = slots_of(documents, sampling_min_slot_tokens=min_slot_tokens)
    train = [tokens for role, tokens in documents if role == "train"]
    first = {row["doc_id"]: row for row in database.read("documents")}
    for row in slots:
        document = first[row["doc_id"]]
        place = (row["context_id"] - document["first_context_id"]) * LENGTH + row["start"]
        whole = document["token_ids"][place : place + row["n_tokens"]]
        stands = row["role"] == "test" and any(stands_in(whole, each) for each in train)
        assert row["is_copied"] is stands
    assert database.rows("checks/no_test_candidate_in_train") == []
    assert {row["is_copied"] for row in slots if row["role"] == "test"} == {True, False}


def test_runs_do_not_cross_document_ends():
    rng = np.random.default_rng(8)
    run = rng.integers(0, 1000, 32).tolist()
    # Train documents hold the run's halves at their end and beginning, and neighbours in the order of ids.
    before, after = (rng.integers(low, low + 1000, 50).tolist() for low in (1000, 3000))
    halves = [[*before, *run[:16]], [*run[16:], *after]]
    assert check_copied_slots(halves, [with_run(rng, 100, 30, run)]) == 0
    # And so do test documents, against a train document that holds it whole.
    assert check_copied_slots([with_run(rng, 100, 30, run)], halves) == 0


def test_run_at_the_very_end_of_a_document_is_found():
    rng = np.random.default_rng(9)
    run = rng.integers(0, 1000, 32).tolist()
    assert check_copied_slots([with_run(rng, 90, 58, run)], [with_run(rng, 100, 68, run)]) > 0
    assert check_copied_slots([run], [run]) > 0


def test_runs_of_few_distinct_tokens_are_compared_as_lists():
    rng = np.random.default_rng(10)
    # Of two tokens, with long stretches of one: equal runs at many offsets, near-equal ones beside them.
    train = [(rng.random(200) < 0.03).astype(int).tolist() for _ in range(3)]
    test = [(rng.random(200) < 0.03).astype(int).tolist() for _ in range(10)]
    n_copied = check_copied_slots(train, test)
    assert n_copied > 0


def test_train_slots_are_never_copied():
    tokens = list(range(100))
    slots, _ = slots_of([("train", tokens), ("test", [*tokens, 1]), ("train", [*tokens, 2])])
    assert {(row["role"], row["is_copied"]) for row in slots} == {("train", False), ("test", True)}


# Placed tokens ------------------------------------------------------------------------------------------


def test_previous_token_is_null_at_position_0_and_never_from_another_context():
    database = Database(context_length=4)
    fill_corpus(
        database,
        [
            Document("train", [10, 11, 12, 13, 14]),
            Document("test", [20]),
            Document("test", [30, 31]),
        ],
    )
    database.make("candidate_slots")
    placed = by(database.rows("corpus_tokens"), "token_index")
    assert {index: (row["token_id"], row["previous_token_id"]) for index, row in placed.items()} == {
        0: (10, None),
        1: (11, 10),
        2: (12, 11),
        3: (13, 12),
        4: (14, None),
        8: (20, None),
        12: (30, None),
        13: (31, 30),
    }
    assert {index: row["position"] for index, row in placed.items()} == {index: index % 4 for index in placed}


def test_tokens_lie_in_candidate_slots_only():
    database = Database(context_length=8)
    fill_corpus(database, [Document("train", range(8)), Document("test", range(8))], copied=[(1, 4)])
    database.make("candidate_slots")
    placed = by(database.rows("corpus_tokens"), "token_index")
    # Position 0 and the end piece of one token are in no slot, nor is a copied one.
    assert [placed[index]["slot_start"] for index in range(8)] == [None, 1, 1, 1, 4, 4, 4, None]
    assert [placed[index]["slot_start"] for index in range(8, 16)] == [None, 1, 1, 1, None, None, None, None]


def test_tokens_have_their_documents_role_and_number():
    database = Database(context_length=4)
    fill_corpus(database, [Document("train", range(5)), Document("test", range(2))])
    database.make("candidate_slots")
    rows = database.rows("corpus_tokens")
    assert Counter((row["role"], row["document_number"]) for row in rows) == {("train", 0): 5, ("test", 2): 2}


def test_train_tokens_leave_out_position_0_and_test_documents():
    database = Database(context_length=4)
    fill_corpus(database, [Document("train", [1, 1, 2, 1, 1, 2]), Document("test", [1, 1, 3])])
    database.make("candidate_slots", "corpus_tokens")
    assert {row["token_id"]: row["n_tokens"] for row in database.rows("train_tokens")} == {1: 2, 2: 2}


def test_documents_that_are_added_are_numbered_behind_the_others_and_those_that_are_there_fall_away():
    database = Database(context_length=8, corpus_shards=2)
    database.fill("read_documents", [read_document(i, range(20)) for i in range(4)])
    earlier = database.rows("documents")
    assert {row["generation"] for row in earlier} == {0}
    database.fill("earlier_documents", earlier)
    database.fill("read_documents", [read_document(i, range(20)) for i in range(2, 8)])
    later = database.rows("documents")
    assert {row["generation"] for row in later} == {1} and {row["shard"] for row in later} == {0, 1}
    assert not {row["doc_id"] for row in earlier} & {row["doc_id"] for row in later} and len(later) == 4
    assert sorted(row["first_context_id"] for row in later) == [12, 15, 18, 21]
