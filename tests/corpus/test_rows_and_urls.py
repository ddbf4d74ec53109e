"""Chats by the model's template, datasets that were tokenised before, and files at URLs."""

import gzip
import json

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from tiny import corpus_texts, open_lake, rows_of
from transformers import AutoTokenizer

from pipeline.config import FileTexts
from pipeline.corpus.contexts import write_contexts
from pipeline.corpus.documents import write_documents
from pipeline.errors import CorpusError
from pipeline.preflight.corpus import check_corpus
from pipeline.sources import fix_sources
from pipeline.texts.files import source_files
from pipeline.texts.readers import read_texts

TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<bos>{{ message.role }} {{ message.content }}<eos>{% endfor %}"
)
CHAT = [{"role": "user", "content": "the red fox<eos>"}, {"role": "assistant", "content": "a goat"}]


@pytest.fixture(scope="module")
def chat_subject(tiny_subject, tmp_path_factory):
    folder = tmp_path_factory.mktemp("subject")
    for file in tiny_subject.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def lake_of(make_experiment, path, subject=None, kind="jsonl", **fields):
    """A lake over one file; fields other than a source's are those of the corpus."""
    own = {key: fields.pop(key) for key in ("messages_field", "tokens_field") if key in fields}
    sections = {"subject": {"model": str(subject)}} if subject else {}
    source = {"kind": kind, "path": str(path), **own}
    return open_lake(make_experiment(corpus={"sources": [source], **fields}, **sections))


def test_a_chat_is_written_by_the_models_template_and_what_is_said_has_no_power(
    make_experiment, tmp_path, chat_subject
):
    shared = [{"from": "human", "value": "the red fox<eos>"}, {"from": "gpt", "value": "a goat "}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "two "}, {"type": "text", "text": "parts"}]}]
    broken = [{"role": "tool", "content": "x"}]
    call = [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}]
    picture = [{"role": "user", "content": ["what is ", {"type": "image", "text": None}]}]
    strange = (broken, "no chat", [{"role": "user"}], call, picture, [{"user": "x"}], ["x"])
    rows = [{"chat": each} for each in (CHAT, shared, parts, *strange)]
    path = jsonl(tmp_path / "chats.jsonl", rows)
    lake = lake_of(make_experiment, path, chat_subject, messages_field="chat")
    figures = write_documents(lake).figures
    assert figures["unreadable"] == len(strange)
    tokenizer = AutoTokenizer.from_pretrained(chat_subject)
    by_text = {row["text"]: row["token_ids"] for row in rows_of(lake, "from documents")}
    said = "<bos>user the red fox<eos><eos><bos>assistant a goat<eos>"
    assert set(by_text) == {said, said.replace("goat<eos>", "goat <eos>"), "<bos>user two parts<eos>"}
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert [each for each in by_text[said] if each in (bos, eos)] == [bos, eos, bos, eos]


def test_a_turn_may_have_the_keys_of_both_spellings_and_parts_that_are_texts(tmp_path):
    turns = [
        {"role": "user", "content": ["two ", {"type": "text", "text": "parts"}]},
        {"from": "gpt", "value": "a goat", "role": None, "content": None},
    ]
    path = jsonl(tmp_path / "chats.jsonl", [{"chat": turns}])
    [text] = read_texts(FileTexts(kind="jsonl", path=str(path), messages_field="chat"))
    assert text.turns == (("user", "two parts"), ("assistant", "a goat"))


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        (
            {"role": "assistant", "content": None, "tool_calls": []},
            "a turn of 'assistant' without text, such as a",
        ),
        (
            {"role": "user", "content": [{"type": "image", "image": "x.png"}]},
            "a part of type 'image', which is not",
        ),
        ({"user": "x"}, "a turn without a role; a turn is {role, content}"),
        ("x", "holds str as a turn"),
    ],
)
def test_what_is_no_turn_of_text_is_named(tmp_path, turn, says):
    path = jsonl(tmp_path / "chats.jsonl", [{"chat": [turn]}])
    with pytest.raises(CorpusError, match=says):
        list(read_texts(FileTexts(kind="jsonl", path=str(path), messages_field="chat")))


def test_a_model_without_a_chat_template_is_named_before_anything_is_written(make_experiment, tmp_path):
    path = jsonl(tmp_path / "chats.jsonl", [{"chat": CHAT}])
    config = make_experiment(corpus={"sources": [{"kind": "jsonl", "path": str(path), "messages_field": "chat"}]})
    with pytest.raises(CorpusError, match="has no chat template"):
        check_corpus(config, config.corpus.sources)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_tokens_that_were_made_before_are_read_as_they_are(make_experiment, tmp_path, tiny_subject, kind):
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    bos = tokenizer.bos_token_id
    rows = [
        {"input_ids": [bos, *tokenizer(text, add_special_tokens=False).input_ids]} for text in corpus_texts()[:6]
    ]
    path = tmp_path / f"tokens.{kind}"
    if kind == "jsonl":
        jsonl(path, rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    lake = lake_of(make_experiment, path, kind=kind, tokens_field="input_ids", max_document_tokens=100)
    write_documents(lake)
    documents = rows_of(lake, "from documents order by unit, token_ids[1] desc")
    assert all(row["n_tokens"] <= 100 for row in documents)
    assert all(tokenizer.decode(row["token_ids"]) == row["text"] for row in documents)
    assert sum(row["n_tokens"] for row in documents) == sum(len(row["input_ids"]) for row in rows)


def test_a_bos_that_a_dataset_brings_does_not_come_twice(make_experiment, tmp_path, tiny_subject):
    bos = AutoTokenizer.from_pretrained(tiny_subject).bos_token_id
    path = jsonl(tmp_path / "tokens.jsonl", [{"ids": [bos, *range(10, 90)]}])
    lake = lake_of(make_experiment, path, tokens_field="ids", prepend_bos=True, shards=1)
    write_documents(lake)
    write_contexts(lake, 0)
    contexts = rows_of(lake, "from contexts order by context_id")
    assert [row["token_ids"].count(bos) for row in contexts] == [1] * len(contexts)


def test_tokens_of_another_model_stop_the_run(make_experiment, tmp_path):
    path = jsonl(tmp_path / "tokens.jsonl", [{"ids": [1, 2, 50_000]}])
    lake = lake_of(make_experiment, path, tokens_field="ids")
    with pytest.raises(CorpusError, match=r"token 50000 is not among the .* tokenised for another model"):
        write_documents(lake)


@pytest.mark.parametrize("tokens", ["text", [1, "2"], [-1], [True]], ids=str)
def test_what_is_no_token_list_is_named(tmp_path, tokens):
    path = jsonl(tmp_path / "tokens.jsonl", [{"ids": tokens}])
    with pytest.raises(CorpusError, match="line 1: 'ids'"):
        list(read_texts(FileTexts(kind="jsonl", path=str(path), tokens_field="ids")))


def test_a_row_is_read_as_one_thing(tmp_path):
    with pytest.raises(ValidationError, match="set only one of them"):
        FileTexts(kind="jsonl", path="x", messages_field="a", tokens_field="b")
    with pytest.raises(ValidationError, match="for kinds jsonl and parquet"):
        FileTexts(kind="text", path="x", tokens_field="b")


# URLs -------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket():
    """A filesystem of fsspec's own, which is not the local one."""
    memory = fsspec.filesystem("memory")
    with memory.open("/bucket/a/one.jsonl", "wb") as file:
        file.write(b'{"text": "one"}\n')
    with memory.open("/bucket/b/two.jsonl.gz", "wb") as file:
        file.write(gzip.compress(b'{"text": "two"}\n{"text": "three"}\n'))
    with memory.open("/bucket/notes.md", "wb") as file:
        file.write(b"notes")
    pq.write_table(pa.table({"text": ["four"]}), "bucket/four.parquet", filesystem=memory)
    yield memory
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        (
            "jsonl",
            "memory://bucket",
            {"a/one.jsonl:1": "one", "b/two.jsonl.gz:1": "two", "b/two.jsonl.gz:2": "three"},
        ),
        ("jsonl", "memory://bucket/b/*.gz", {"two.jsonl.gz:1": "two", "two.jsonl.gz:2": "three"}),
        ("text", "memory://bucket/notes.md", {"notes.md": "notes"}),
        ("parquet", "memory://bucket", {"four.parquet:1": "four"}),
    ],
)
def test_files_at_a_url_are_read_as_local_ones(bucket, kind, path, expected):
    texts = read_texts(FileTexts(kind=kind, path=path))
    assert {text.unit: text.text for text in texts} == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://bucket/none/*.jsonl", "no file at"),
        ("nosuch://bucket/x", "cannot be opened"),
    ],
)
def test_a_url_with_nothing_behind_it_is_named(bucket, url, words):
    with pytest.raises(CorpusError, match=words) as caught:
        source_files(FileTexts(kind="jsonl", path=url))
    assert url in str(caught.value)


def test_a_file_that_changes_at_its_url_stops_the_run(make_experiment, bucket):
    sources = [{"kind": "jsonl", "path": "memory://bucket"}]
    config = make_experiment(corpus={"sources": sources})
    assert fix_sources(config) == fix_sources(config)
    with bucket.open("/bucket/a/one.jsonl", "wb") as file:
        file.write(b'{"text": "changed"}\n')
    with pytest.raises(CorpusError, match="has changed since"):
        fix_sources(config)
