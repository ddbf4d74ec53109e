"""The corpus: its text sources, how they are cut, and which windows can become examples."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from upath import UPath

from pipeline.config.section import Positive, Section


class PythonTexts(Section):
    """Texts that come with every Python installation: the default."""

    kind: Literal["python"]


class _Rows(Section):
    """What is read from a row: a text, a chat, or tokens."""

    text_field: str = Field("text", description="The column or key with the text (jsonl, parquet, hub)")
    messages_field: str | None = Field(
        None,
        description="Instead of text_field: the column or key with a chat's turns, {role, content} or {from, "
        "value}, rendered with the subject model's chat template",
    )
    tokens_field: str | None = Field(
        None,
        description="Instead of text_field: the column or key with token ids, for a dataset already tokenised "
        "with the subject model's tokenizer",
    )
    unit_field: str | None = Field(
        None,
        description="The column or key with the unit (book, page, …) whose documents share a role; by default "
        "each row or text file is a unit of its own",
    )
    max_documents: Positive | None = Field(None, description="Read at most this many texts")

    @property
    def read_field(self) -> str:
        """The field that is read."""
        return self.messages_field or self.tokens_field or self.text_field

    @property
    def read_key(self) -> str:
        """The key that names this field."""
        return next((key for key in ("messages_field", "tokens_field") if getattr(self, key)), "text_field")

    @model_validator(mode="after")
    def _one_field(self) -> Self:
        if self.messages_field and self.tokens_field:
            raise ValueError("messages_field and tokens_field are both set; set only one of them")
        return self


class FileTexts(_Rows):
    """Text, JSON-lines or Parquet files."""

    kind: Literal["text", "jsonl", "parquet"]
    path: str = Field(
        min_length=1,
        description="A file, a folder (searched recursively), a glob pattern, or the URL of one "
        "(`s3://bucket/*.jsonl.zst`, `hf://datasets/…`, any that fsspec knows)",
    )

    @property
    def is_remote(self) -> bool:
        """Whether its path is a URL."""
        return "://" in self.path

    @model_validator(mode="after")
    def _rows_have_fields(self) -> Self:
        if self.kind == "text" and (self.messages_field or self.tokens_field):
            raise ValueError(
                "messages_field and tokens_field are for kinds jsonl and parquet; a text file has no fields"
            )
        return self


class HubTexts(_Rows):
    """A dataset on the Hugging Face Hub, streamed."""

    kind: Literal["hub"]
    dataset: str = Field(description="Its name, such as `EleutherAI/SmolLM2-135M-10B`, or a local folder")
    subset: str | None = Field(None, description="Its configuration, if it has several")
    split: str = Field("train", description="Its split")
    revision: str | None = Field(None, description="Branch, tag or commit; resolved to a commit at the first run")


class DelphiRows(Section):
    """A cache of EleutherAI's delphi: its rows are the documents, and their firings are read, not computed."""

    kind: Literal["delphi"]
    path: str = Field(
        description="Its folder `latents`, which has a subfolder per SAE named after the SAE's hookpoint; or the "
        "folder's URL (`hf://datasets/…`, `s3://…`, any that fsspec knows)",
    )

    @property
    def is_remote(self) -> bool:
        """Whether its path is a URL."""
        return "://" in self.path

    @property
    def folder(self) -> Path | UPath:
        """Its folder."""
        return UPath(self.path) if self.is_remote else Path(self.path).expanduser()


TextSource = Annotated[PythonTexts | FileTexts | HubTexts | DelphiRows, Field(discriminator="kind")]


class CorpusConfig(Section):
    """The text that the subject model reads, and how it is cut."""

    sources: Annotated[tuple[TextSource, ...], Field(min_length=1)] = Field(
        description="Sources of the text, read in this order"
    )
    unreadable: Literal["skip", "stop"] = Field(
        "skip",
        description="What to do with a file, line or row that is not text (damaged, not UTF-8, not JSON, no such "
        "field): `skip`: leave it out, log and count it; `stop`: stop the run",
    )
    context_length: Annotated[int, Field(ge=32, le=65_536)] = Field(
        256, description="Maximum tokens of a context window; documents never share one"
    )
    prepend_bos: bool = Field(False, description="Begin each context with the model's BOS token (at position 0)")
    min_document_tokens: Positive = Field(1, description="Shorter documents are dropped and counted")
    max_document_tokens: Positive = Field(
        1_000_000, description="Longer texts are cut at blank lines or line ends into documents of the same unit"
    )
    max_tokens: Positive | None = Field(None, description="Stop reading after this many tokens")
    shards: Annotated[int, Field(ge=1, le=100_000)] = Field(
        4, description="Number of parts that the contexts are divided into; a worker takes one at a time"
    )
    test_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5,
        description="Share of units whose documents are used to score (`test`) and never shown to explainers "
        "(`train`)",
    )

    @model_validator(mode="after")
    def _lengths_in_order(self) -> Self:
        if self.min_document_tokens > self.max_document_tokens:
            raise ValueError("min_document_tokens is above max_document_tokens")
        return self

    @property
    def cache(self) -> DelphiRows | None:
        """The cache that the firings are read from; None if the subject model reads texts."""
        first = self.sources[0]
        return first if isinstance(first, DelphiRows) else None

    @model_validator(mode="after")
    def _rows_of_a_cache_stay_whole(self) -> Self:
        if not any(isinstance(source, DelphiRows) for source in self.sources):
            return self
        if len(self.sources) > 1:
            raise ValueError("a source of kind delphi must be the only source; remove the others")
        whole = {"prepend_bos": False, "min_document_tokens": 1, "max_tokens": None}
        for key, value in whole.items():
            if getattr(self, key) != value:
                raise ValueError(
                    f"{key} cannot be used with a source of kind delphi, whose rows are taken unchanged; remove it"
                )
        if self.max_document_tokens < self.context_length:
            raise ValueError(
                "max_document_tokens is below context_length, but rows of a cache cannot be cut; raise it"
            )
        return self


class SamplingConfig(Section):
    """Which windows of the corpus can become examples."""

    slot_tokens: Annotated[int, Field(ge=8, le=512)] = Field(
        32, description="Tokens per slot; contexts are cut into slots at a random offset"
    )
    min_slot_tokens: Positive = Field(16, description="Shorter end pieces of a context are left out and counted")
    copied_run_tokens: Annotated[int, Field(ge=8)] = Field(
        32,
        description="A test slot is not a candidate if it overlaps a run of this many tokens (a power of two) "
        "that also occurs in a train document, or, if it is shorter, if all of it occurs there",
    )
    top: Positive = Field(200, description="Strongest slots kept per feature and role (post: top 200)")
    top_examples: Positive = Field(
        10,
        description="Strongest test windows of a feature among its examples, in addition to drawn ones: "
        "simulation asks about the first few, and the report shows the first",
    )
    draws_per_decile: Annotated[int, Field(ge=1, lt=1_000_000)] = Field(
        25, description="Activating slots kept per feature, role and decile, drawn at random"
    )
    silent_draws: Positive = Field(
        50,
        description="Silent slots drawn per feature, role and kind (`same_token`, `neighbour`, `random`), of all "
        "there are; scorers and explainers take theirs from these",
    )

    @model_validator(mode="after")
    def _runs_double(self) -> Self:
        if self.copied_run_tokens & (self.copied_run_tokens - 1):
            raise ValueError("copied_run_tokens must be a power of two, such as 32")
        if self.min_slot_tokens > self.slot_tokens:
            raise ValueError("min_slot_tokens is above slot_tokens")
        if self.top_examples > self.top:
            raise ValueError(f"top_examples is {self.top_examples}, but only top={self.top} slots are kept")
        return self
