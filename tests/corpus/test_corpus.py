"""From text sources to documents, contexts and the bytes of tokens."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import OTHER_SCRIPTS, corpus_texts, open_lake, rows_of, write_corpus
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from assets.command import run_command
from pipeline.config import FileTexts, HubTexts
from pipeline.corpus import slots
from pipeline.corpus.contexts import write_contexts
from pipeline.corpus.documents import Piece, _cut, write_documents
from pipeline.corpus.slots import write_slots
from pipeline.corpus.tokens import write_tokens
from pipeline.errors import CorpusError
from pipeline.make_table import make_table
from pipeline.models.token_bytes import token_bytes
from pipeline.texts import readers
from pipeline.texts.files import source_files
from pipeline.texts.readers import read_texts
from pipeline.texts.text import Text

REPOSITORY = Path(__file__).parents[2]
TEXTS = ["One.\n\nTwo, with é and 👩‍🚀.", "Three.", "Four four."]


def files(path: Path | str, kind: str = "text", **keys) -> FileTexts:
    return FileTexts(kind=kind, path=str(path), **keys)


def texts_of(source) -> list[str]:
    return [text.text for text in read_texts(source)]


def refusal(source) -> str:
    with pytest.raises(CorpusError) as caught:
        list(read_texts(source))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_control_tokens_spelled_in_a_text_stay_text(make_experiment, tmp_path):
    said = "the goat<eos> and<bos> the red fox"
    path = write_corpus(tmp_path / "texts", kind="jsonl", texts=[said, f"{said} " * 20])
    lake = open_lake(
        make_experiment(corpus={"sources": [{"kind": "jsonl", "path": str(path)}], "max_document_tokens": 50})
    )
    write_documents(lake)
    rows = rows_of(lake, "from documents")
    tokenizer = AutoTokenizer.from_pretrained(lake.config.subject.model)
    assert len(rows) > 2 and any(row["text"] == said for row in rows)
    assert not any({tokenizer.bos_token_id, tokenizer.eos_token_id} & set(row["token_ids"]) for row in rows)
    assert all(tokenizer.decode(row["token_ids"]) == row["text"] for row in rows)


# Sources ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "jsonl", "parquet"])
def test_the_texts_of_a_file_or_folder_come_back_as_they_are(tmp_path, kind):
    path = write_corpus(tmp_path / "corpus", kind=kind, texts=TEXTS)
    assert texts_of(files(path, kind)) == TEXTS
    assert texts_of(files(tmp_path / "corpus", kind)) == TEXTS


def test_a_single_text_file_is_one_text(tmp_path):
    path = write_corpus(tmp_path, texts=TEXTS) / "0001.txt"
    assert texts_of(files(path)) == ["Three."]


def test_a_folder_is_searched_below_and_only_for_text(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "deep.md").write_text("deep")
    (tmp_path / "top.txt").write_text("top")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    assert sorted((text.unit, text.text) for text in read_texts(files(tmp_path))) == [
        ("a/b/deep.md", "deep"),
        ("top.txt", "top"),
    ]


def test_a_pattern_gives_its_files_in_order(tmp_path):
    write_corpus(tmp_path, texts=TEXTS)
    assert texts_of(files(tmp_path / "000[12].txt")) == TEXTS[1:]
    assert texts_of(files(tmp_path / "**" / "*.txt")) == TEXTS


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_of_one_unit_field_share_a_unit_and_other_rows_are_their_own(tmp_path, kind):
    path = write_corpus(tmp_path, kind=kind, texts=TEXTS)
    units = [text.unit for text in read_texts(files(path, kind, unit_field="book"))]
    assert units == ["book 0", "book 0", "book 1"]
    assert len({text.unit for text in read_texts(files(path, kind))}) == 3


@pytest.mark.parametrize("kind", ["text", "jsonl", "parquet"])
def test_max_documents_bounds_what_is_read(tmp_path, kind):
    path = write_corpus(tmp_path, kind=kind, texts=TEXTS)
    assert texts_of(files(path, kind, max_documents=2)) == TEXTS[:2]


def test_blank_json_lines_are_passed_over(tmp_path):
    (tmp_path / "a.jsonl").write_text('\n{"text": "one"}\n   \n{"text": "two"}')
    assert texts_of(files(tmp_path, "jsonl")) == ["one", "two"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "torn', "is not JSON"),
        ('{"text": "a number", "n": ' + "1" * 5000 + "}", "is not JSON"),
        ('["text"]', "is not a JSON object"),
        ('{"txt": "x"}', "has no 'text'; nearest: 'txt' (text_field names it)"),
        ('{"text": 5}', "'text' is int, not text"),
        ('{"text": null}', "'text' is null, not text"),
    ],
)
def test_a_bad_json_line_is_named_by_file_and_line(tmp_path, line, reason):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\n' + line + "\n")
    message = refusal(files(path, "jsonl"))
    assert f"'{path}', line 2" in message and reason in message


def test_a_row_without_its_unit_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x", "book": "b"}\n{"text": "y", "book": null}\n')
    assert f"'{path}', line 2 has no 'book'" in refusal(files(path, "jsonl", unit_field="book"))


@pytest.mark.parametrize("kind", ["text", "jsonl"])
def test_a_file_in_another_encoding_is_named(tmp_path, kind):
    path = tmp_path / "latin.x"
    path.write_bytes('{"text": "na\xefve"}\n'.encode("latin-1"))
    message = refusal(files(path, kind))
    assert f"'{path}'" in message and "UTF-8" in message


def test_a_parquet_file_that_lacks_the_column_is_named_with_the_nearest(tmp_path):
    path = write_corpus(tmp_path, kind="parquet", texts=TEXTS)
    assert f"'{path}' has no column 'texts'; nearest: 'text' (text_field names it)" in refusal(
        files(path, "parquet", text_field="texts")
    )


def test_a_null_in_a_parquet_row_is_named_by_its_row(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x", None]}), path)
    assert f"'{path}', row 2: 'text' is null" in refusal(files(path, "parquet"))


def test_a_parquet_row_that_is_no_utf_8_is_named_and_the_others_are_read(tmp_path):
    _, offsets, data = pa.array([b"x", b"\xff\xfe", b"y"]).buffers()
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.StringArray.from_buffers(3, offsets, data)}), path)
    left_out = []
    assert [text.text for text in read_texts(files(path, "parquet"), left_out.append)] == ["x", "y"]
    [error] = left_out
    assert f"'{path}', row 2 is not UTF-8 text" in str(error)


def test_a_torn_parquet_file_is_named(tmp_path):
    path = write_corpus(tmp_path, kind="parquet", texts=TEXTS)
    path.write_bytes(path.read_bytes()[:100])
    assert f"'{path}' is not a readable Parquet file" in refusal(files(path, "parquet"))


@pytest.mark.parametrize("place", ["none", "none/*.txt", "empty"])
def test_a_path_with_no_file_is_named(tmp_path, place):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"no .*file .*set corpus\.sources"):
        source_files(files(tmp_path / place))


def test_a_dataset_in_a_local_folder_is_streamed(tmp_path):
    pytest.importorskip("datasets")
    path = write_corpus(tmp_path / "data", kind="jsonl", texts=TEXTS)
    source = HubTexts(kind="hub", dataset=str(path.parent), unit_field="book", max_documents=2)
    assert [(text.unit, text.text) for text in read_texts(source)] == [("book 0", text) for text in TEXTS[:2]]


def test_a_stream_that_breaks_off_is_told_with_its_dataset_and_row(monkeypatch):
    def rows():
        yield {"text": TEXTS[0]}
        raise RuntimeError("client has been closed\nTraceback")

    monkeypatch.setattr(readers, "_open_dataset", lambda source: rows())
    texts = read_texts(HubTexts(kind="hub", dataset="someone/texts"))
    assert next(texts).text == TEXTS[0]
    with pytest.raises(CorpusError, match=r"broke off after 1 rows \(RuntimeError: client .*closed"):
        next(texts)


@pytest.mark.whole  # reads all that a Python installation brings
def test_the_python_texts_are_of_many_units_and_nothing_that_they_describe_is_imported():
    code = """
import json, sys
from pipeline.config import PythonTexts
from pipeline.texts.readers import read_texts
before = set(sys.modules)
texts = list(read_texts(PythonTexts(kind="python")))
new = {name.partition(".")[0] for name in set(sys.modules) - before}
assert all(text.text.strip() for text in texts)
units = {text.unit for text in texts}
print(json.dumps([len(texts), len(units), sorted({text.source for text in texts}), sorted(new)]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    n_texts, n_units, sources, new_modules = json.loads(run.stdout)
    assert sources == ["package READMEs", "python docstrings", "python topics"]
    assert n_units > 200 and n_units > 0.9 * n_texts
    # Reading metadata takes the email package; of a thousand modules described nothing else comes in.
    assert {"pydoc_data"} <= set(new_modules) and len(new_modules) < 20, new_modules
    assert not {"tkinter", "turtle", "this", "antigravity", "curses", "dagster", "torch"} & set(new_modules)


# Documents --------------------------------------------------------------------------------------------


def test_every_text_is_a_document_with_the_tokens_of_its_tokenizer(make_experiment, tiny_subject):
    lake = open_lake(make_experiment())
    published = write_documents(lake)
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    documents = rows_of(lake, "from documents")
    assert {row["text"] for row in documents} == set(corpus_texts())
    assert published.n_rows == published.figures["documents_read"] == len(documents) == 40
    for row in documents:
        assert row["token_ids"] == tokenizer(row["text"], add_special_tokens=False).input_ids
        assert row["n_tokens"] == len(row["token_ids"])


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_contexts_hold_every_token_of_a_document_in_order_and_never_two_documents(make_experiment, prepend_bos):
    lake = open_lake(make_experiment(corpus={"prepend_bos": prepend_bos, "shards": 3}))
    write_documents(lake)
    for shard in range(3):
        write_contexts(lake, shard)
    joined: dict[str, list[int]] = {}
    contexts = rows_of(lake, "from contexts order by context_id")
    for row in contexts:
        assert len(row["token_ids"]) <= lake.config.corpus.context_length
        if prepend_bos:
            assert row["token_ids"].pop(0) == 0
        joined.setdefault(row["doc_id"], []).extend(row["token_ids"])
    assert joined == {row["doc_id"]: row["token_ids"] for row in rows_of(lake, "from documents")}
    assert [row["context_id"] for row in contexts] == list(range(len(contexts)))
    assert {row["shard"] for row in contexts} == {0, 1, 2}


def documents_of(make_experiment, tmp_path, texts, **corpus):
    """The documents table and the figures for a corpus of these texts, each a unit."""
    path = write_corpus(tmp_path / "texts", kind="jsonl", texts=texts)
    lake = open_lake(make_experiment(corpus={"sources": [{"kind": "jsonl", "path": str(path)}], **corpus}))
    published = write_documents(lake)
    return rows_of(lake, "from documents"), published.figures


def test_a_long_text_is_cut_at_blank_lines_into_documents_of_one_unit_and_role(make_experiment, tmp_path):
    [text] = corpus_texts(n_documents=1, n_sentences=60)
    documents, _ = documents_of(make_experiment, tmp_path, [text], max_document_tokens=100)
    pieces = sorted((row["text"] for row in documents), key=text.index)
    assert len(pieces) > 5
    assert "".join(pieces) == text
    assert all(piece.endswith("\n\n") for piece in pieces[:-1])
    assert all(row["n_tokens"] <= 100 for row in documents)
    assert len({(row["unit"], row["role"]) for row in documents}) == 1


def pieces_of(text: str, subject: Path, max_tokens: int) -> list[Piece]:
    """The pieces of a text in their order, which the documents table no longer has."""
    tokenizer = AutoTokenizer.from_pretrained(subject)
    token_ids = tokenizer(text, add_special_tokens=False).input_ids
    return list(_cut(Text("source", "unit", text), token_ids, tokenizer, max_tokens))


@pytest.mark.parametrize("max_tokens", [7, 16, 50])
@pytest.mark.parametrize(
    "text",
    [
        " ".join(corpus_texts(n_documents=1, n_sentences=20)[0].split()),
        "one\ntwo\nthree\n" * 40,
        "stopword" * 60,
        "  leading spaces  and\ttabs " * 20,
        "one\n\n\n \n\n\n" * 30,
        "café, naïve, über alles " * 20,
    ],
    ids=["no blank line", "lines", "no break at all", "spaces", "blank pieces", "accents"],
)
def test_the_pieces_of_a_text_give_back_all_of_it_and_none_is_too_long(tiny_subject, text, max_tokens):
    place = 0
    for piece in pieces_of(text, tiny_subject, max_tokens):
        assert (piece.source, piece.unit) == ("source", "unit")
        assert 0 < len(piece.token_ids) <= max_tokens
        start = text.index(piece.text, place)
        assert not text[place:start].strip()  # only what is blank is left out
        place = start + len(piece.text)
    assert not text[place:].strip()


def test_a_long_text_without_a_break_in_a_script_of_many_bytes_is_cut(tiny_subject):
    # Each character is three tokens of one byte here, so that a cut falls inside a character.
    text = "".join(chr(0x4E00 + number) for number in range(100))
    pieces = pieces_of(text, tiny_subject, 50)
    assert "".join(piece.text for piece in pieces) == text
    assert all(len(piece.token_ids) <= 50 for piece in pieces)


def test_reading_stops_with_the_document_that_reaches_max_tokens(make_experiment, tmp_path):
    texts = corpus_texts()
    documents, figures = documents_of(make_experiment, tmp_path, texts, max_tokens=1000)
    kept = {row["text"] for row in documents}
    assert kept == set(texts[: len(kept)])
    last = next(row for row in documents if row["text"] == texts[len(kept) - 1])
    assert figures["tokens"] >= 1000 > figures["tokens"] - last["n_tokens"]


def test_duplicates_and_short_documents_are_dropped_and_counted(make_experiment, tmp_path):
    texts = [*corpus_texts(n_documents=5), *corpus_texts(n_documents=2), "too short", "   \n"]
    documents, figures = documents_of(make_experiment, tmp_path, texts, min_document_tokens=10)
    assert {row["text"] for row in documents} == set(corpus_texts(n_documents=5))
    assert (figures["documents_read"], figures["too_short"], figures["duplicates"]) == (8, 1, 2)


@pytest.mark.parametrize("texts", [["   ", "\n\n"], ["too short"]])
def test_a_corpus_of_which_nothing_is_left_is_refused(make_experiment, tmp_path, texts):
    with pytest.raises(CorpusError, match="corpus is empty"):
        documents_of(make_experiment, tmp_path, texts, min_document_tokens=10)


def test_units_go_to_both_roles_by_the_seed_and_not_by_their_order(make_experiment, tmp_path):
    texts = corpus_texts()

    def roles(name: str, texts: list[str], seed: int) -> dict[str, str]:
        folder = tmp_path / name
        path = write_corpus(folder / "texts", kind="jsonl", texts=[])
        rows = [{"text": text, "unit": text[:40]} for text in texts]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = {"kind": "jsonl", "path": str(path), "unit_field": "unit"}
        lake = open_lake(make_experiment(folder, seed=seed, corpus={"sources": [source]}))
        write_documents(lake)
        return {row["text"]: row["role"] for row in rows_of(lake, "from documents")}

    first = roles("first", texts, seed=0)
    assert 8 < list(first.values()).count("test") < 32
    assert roles("reversed", texts[::-1], seed=0) == first
    assert roles("other seed", texts, seed=1) != first


def test_text_with_half_a_character_is_refused_by_file_and_row_or_kept(make_experiment, tmp_path):
    texts = [corpus_texts(n_documents=1)[0], "half of an emoji: \ud83d"]
    try:
        documents, _ = documents_of(make_experiment, tmp_path, texts)
    except CorpusError as error:
        assert "line 2" in str(error)
    else:
        assert len(documents) == 2


def test_slots_leave_out_position_zero_and_never_overlap(make_experiment):
    lake = open_lake(make_experiment(corpus={"shards": 1}))
    write_documents(lake)
    published = make_table(lake, "slots")
    taken = set()
    for row in rows_of(lake, "from slots"):
        places = {(row["context_id"], row["start"] + place) for place in range(row["n_tokens"])}
        assert row["start"] >= 1 and 16 <= row["n_tokens"] <= 32
        assert not taken & places
        taken |= places
    tokens = rows_of(lake, "select sum(n_tokens) as n from documents")[0]["n"]
    assert published.figures["tokens_in_no_slot"] == tokens - len(taken)


# What cannot be read ----------------------------------------------------------------------------------


def compressed(text: str, ending: str) -> bytes:
    kind = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}[ending]
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, kind) as stream:
        stream.write(text.encode())
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("ending", [".gz", ".zst", ".bz2"])
def test_compressed_files_are_read(tmp_path, ending):
    (tmp_path / f"a.txt{ending}").write_bytes(compressed("One.\n\nTwo, with é.", ending))
    (tmp_path / f"b.jsonl{ending.upper()}").write_bytes(compressed('{"text": "é"}\n\n{"text": "b"}\n', ending))
    assert texts_of(files(tmp_path)) == ["One.\n\nTwo, with é."]
    assert texts_of(files(tmp_path, "jsonl")) == ["é", "b"]


def test_a_gz_that_a_download_has_decompressed_is_read(tmp_path):
    (tmp_path / "a.jsonl.gz").write_text('{"text": "one"}\n')
    assert texts_of(files(tmp_path, "jsonl")) == ["one"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (compressed('{"text": "x"}\n', ".gz"), "it is compressed; rename it to end in .gz"),
        (compressed('{"text": "x"}\n', ".zst"), "it is compressed; rename it to end in .zst"),
        ('{"text": "x"}\n'.encode("utf-16"), "is UTF-16; JSON lines are objects in UTF-8"),
        (b'\xef\xbb\xbf[\n {"text": "x"},\n {"text": "y"}\n]\n', "is a JSON array; JSON lines are objects"),
    ],
)
def test_a_file_that_holds_no_json_lines_is_named_once_for_what_it_is(tmp_path, content, reason):
    (tmp_path / "a.jsonl").write_bytes(content)
    left_out: list[CorpusError] = []
    assert list(read_texts(files(tmp_path, "jsonl"), left_out.append)) == []
    [error] = left_out
    assert "a.jsonl'" in str(error) and reason in str(error)


def test_endings_are_known_in_any_case_and_byte_order_marks_are_no_text(tmp_path):
    (tmp_path / "a.TXT").write_bytes("\ufeffOne é".encode())
    (tmp_path / "b.Md").write_bytes("Two é".encode("utf-16"))
    (tmp_path / "c.JSONL").write_bytes('\ufeff{"text": "Three"}\r\n'.encode())
    assert texts_of(files(tmp_path)) == ["One é", "Two é"]
    assert texts_of(files(tmp_path, "jsonl")) == ["Three"]


def bad_files(folder: Path) -> Path:
    """Twenty texts and four files that are none; a.txt is empty."""
    folder = write_corpus(folder, texts=corpus_texts(n_documents=20))
    (folder / "a.txt").write_text("  \n")
    (folder / "b.txt").write_bytes(b"half \xff\xfe no UTF-8")
    whole = compressed("a text", ".gz")
    (folder / "c.txt.gz").write_bytes(whole[:-6])
    (folder / "d.txt.gz").write_bytes(b"\x1f\x8bno gzip")
    (folder / "e.txt.zst").write_text("no zstd")
    return folder


def test_bad_files_are_left_out_named_and_counted(make_experiment, tmp_path, caplog):
    source = {"kind": "text", "path": str(bad_files(tmp_path / "texts"))}
    lake = open_lake(make_experiment(corpus={"sources": [source], "min_document_tokens": 5}))
    with caplog.at_level(logging.WARNING):
        published = write_documents(lake)
    assert published.n_rows == 20
    figures = published.figures
    assert (figures["unreadable"], figures["empty"], figures["too_short"]) == (4, 1, 0)
    [record] = [record for record in caplog.records if "left out" in record.getMessage()]
    assert "4 that cannot be read" in record.getMessage() and "1 empty" in record.getMessage()
    for name in ("b.txt' is not UTF-8", "c.txt.gz' is damaged", "d.txt.gz' is damaged", "e.txt.zst' is damaged"):
        assert name in record.getMessage()


def test_a_file_whose_name_is_no_utf_8_is_read_and_its_name_is_spelled(make_experiment, tmp_path):
    folder = write_corpus(tmp_path / "texts")
    (folder / "0000.txt").rename(folder / os.fsdecode(b"\xff.txt"))
    lake = open_lake(make_experiment(corpus={"sources": [{"kind": "text", "path": str(folder)}]}))
    write_documents(lake)
    assert "\\udcff.txt" in {row["unit"] for row in rows_of(lake, "from documents")}


def test_a_bad_file_stops_the_run_where_the_config_says_so(make_experiment, tmp_path):
    source = {"kind": "text", "path": str(bad_files(tmp_path / "texts"))}
    lake = open_lake(make_experiment(corpus={"sources": [source], "unreadable": "stop"}))
    with pytest.raises(CorpusError, match=r"b\.txt' is not UTF-8"):
        write_documents(lake)
    assert not lake.has("documents")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_bad_rows_are_left_out_named_and_counted(make_experiment, tmp_path, caplog, kind):
    rows = [{"text": text} for text in corpus_texts(n_documents=20)]
    path = tmp_path / f"texts.{kind}"
    if kind == "jsonl":
        lines = [json.dumps(row) for row in rows]
        lines[3:3] = ["{", "[1]", '{"other": 1}', '{"text": 7}', '{"text": ""}']
        path.write_bytes("\n".join(lines).encode() + b'\n{"text": "\xff"}\n')
    else:
        pq.write_table(pa.Table.from_pylist([*rows, *[{"text": None}] * 5, {"text": ""}]), path)
    lake = open_lake(make_experiment(corpus={"sources": [{"kind": kind, "path": str(path)}]}))
    with caplog.at_level(logging.WARNING):
        published = write_documents(lake)
    assert published.n_rows == 20
    assert (published.figures["unreadable"], published.figures["empty"]) == (5, 1)
    assert ("line 4 is not JSON" if kind == "jsonl" else "row 21: 'text' is null") in caplog.text


def test_a_corpus_that_begins_with_a_hundred_bad_rows_is_a_slip(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"body": "a"}\n' * 99 + '{"text": "a"}\n')
    left_out = []
    assert [text.text for text in read_texts(files(path, "jsonl"), left_out.append)] == ["a"]
    assert len(left_out) == 99
    path.write_text('{"body": "a"}\n' * 100 + '{"text": "a"}\n')
    with pytest.raises(CorpusError, match="has no 'text'; nearest: 'body'"):
        list(read_texts(files(path, "jsonl"), left_out.append))


TEMPLATE = " ".join(["the cat and the dog said that it was for them"] * 8)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (
            [f"a {first} and a {second}" for first in ("goat", "hen", "cow") for second in ("fox", "wolf", "dog")],
            ("documents of", "have no piece of 16 tokens", "sampling.min_slot_tokens"),
        ),
        (
            [f"{TEMPLATE} {word}" for word in ("red", "green", "blue", "fox", "wolf", "goat", "hen", "cow")],
            ("role `test`", "slots, but each overlaps a run of 32 tokens", "corpus.sources"),
        ),
        (corpus_texts(n_documents=1), ("it has no document", "corpus.sources", "corpus.test_share than 0.5")),
        (9 * corpus_texts(n_documents=1), ("it has no document; the corpus has 1 (equal texts count once)",)),
    ],
)
def test_a_corpus_without_slots_in_a_role_is_refused_before_a_model_runs(
    make_experiment, tmp_path, capsys, texts, says
):
    path = write_corpus(tmp_path / "texts", kind="jsonl", texts=texts)
    lake = open_lake(make_experiment(corpus={"sources": [{"kind": "jsonl", "path": str(path)}]}))
    write_documents(lake)
    with pytest.raises(CorpusError) as caught:
        write_slots(lake)
    assert all(part in str(caught.value) for part in says), str(caught.value)
    assert not lake.has("slots")
    assert run_command(["estimate", str(tmp_path / "tiny.yaml")]) == 2
    assert str(caught.value) in capsys.readouterr().err


def test_first_texts_of_a_longer_corpus_without_slots_are_said_and_stop_nothing(
    make_experiment, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(slots, "_SAMPLE_TOKENS", 100)
    lake = open_lake(make_experiment())
    with caplog.at_level(logging.WARNING):
        slots.check_first_texts(lake)
    assert "tokens alone are not enough: the corpus has no slot" in caplog.text
    assert not lake.has("documents") and not lake.has("slots")


# Tokens -----------------------------------------------------------------------------------------------


def sentencepiece_bpe() -> PreTrainedTokenizerFast:
    """As Llama 2 and Gemma: spaces as U+2581, and bytes as <0xHH> for unknown characters."""
    letters = [
        "<s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "\u2581",
        *"abcdefghijklmnopqrstuvwxyz",
        "th",
        "\u2581th",
    ]
    model = models.BPE(
        {token: number for number, token in enumerate(letters)},
        [("t", "h"), ("\u2581", "th")],
        byte_fallback=True,
        unk_token=None,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


def sentencepiece_unigram() -> PreTrainedTokenizerFast:
    """As T5 and XLM: a Unigram model with a Metaspace decoder."""
    characters = sorted({character for character in OTHER_SCRIPTS if character != " "})
    vocabulary = [
        ("<s>", 0.0),
        ("\u2581", -3.0),
        *((character, -4.0) for character in characters),
        ("\u2581caf", -2.0),
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


@pytest.mark.parametrize("family", ["byte-level BPE", "SentencePiece BPE", "SentencePiece Unigram"])
def test_the_bytes_of_tokens_join_into_the_text(family, tiny_subject):
    tokenizer = {
        "byte-level BPE": lambda: AutoTokenizer.from_pretrained(tiny_subject),
        "SentencePiece BPE": sentencepiece_bpe,
        "SentencePiece Unigram": sentencepiece_unigram,
    }[family]()
    token_ids = tokenizer(OTHER_SCRIPTS, add_special_tokens=False).input_ids
    spell = token_bytes(tokenizer)
    assert b"".join(map(spell, token_ids)).decode() == OTHER_SCRIPTS
    assert spell(tokenizer.bos_token_id).decode() == tokenizer.bos_token


def test_an_added_token_stands_for_itself(tiny_subject):
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    tokenizer.add_tokens(["Ġ▁é 1"])
    assert token_bytes(tokenizer)(len(tokenizer) - 1).decode() == "Ġ▁é 1"


def test_a_token_of_the_model_that_is_listed_as_added_too_is_spelled_as_the_model_does():
    """As Gemma's runs of spaces and newlines, which its tokenizer.json lists with `special: false`."""
    words = ["<pad>", "<eos>", "<bos>", "\n\n", "▁▁", "▁", "a", "▁a", "<0x0A>", "\n"]
    model = models.BPE(
        vocab={word: number for number, word in enumerate(words)},
        merges=[("▁", "▁"), ("▁", "a"), ("\n", "\n")],
        byte_fallback=True,
    )
    built = Tokenizer(model)
    built.normalizer = normalizers.Replace(" ", "▁")
    built.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    built.add_special_tokens(words[:3])
    built.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("▁▁", normalized=False)])
    built.add_tokens([AddedToken("<▁>", normalized=False)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=built, bos_token="<bos>", eos_token="<eos>")
    text = "a  a\n\n a  "
    token_ids, spell = tokenizer(text, add_special_tokens=False).input_ids, token_bytes(tokenizer)
    assert {"▁▁", "\n\n"} <= {*tokenizer.convert_ids_to_tokens(token_ids)}
    assert b"".join(map(spell, token_ids)).decode() == text == tokenizer.decode(token_ids)
    assert spell(tokenizer.bos_token_id) == b"<bos>" and spell(len(words)).decode() == "<▁>"


def test_the_tokens_table_has_every_token_and_flags_the_special_ones(make_experiment, tiny_subject):
    lake = open_lake(make_experiment())
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    assert write_tokens(lake).n_rows == len(tokenizer)
    tokens = rows_of(lake, "from tokens order by token_id")
    assert [row["token_id"] for row in tokens] == list(range(len(tokenizer)))
    assert [row["text"] for row in tokens if row["is_special"]] == ["<bos>", "<eos>"]
    token_ids = tokenizer(OTHER_SCRIPTS, add_special_tokens=False).input_ids
    assert b"".join(tokens[token_id]["bytes"] for token_id in token_ids) == OTHER_SCRIPTS.encode()


def test_a_token_that_is_no_text_on_its_own_is_written_as_its_bytes(make_experiment):
    lake = open_lake(make_experiment())
    write_tokens(lake)
    broken = rows_of(lake, "from tokens where bytes = '\\xF0'::blob")
    assert [row["text"] for row in broken] == ["\\xf0"]
