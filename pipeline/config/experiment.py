"""One YAML file is one experiment: frozen, typed, every key described.

Sections are science and part of the stage hashes (see `versions`), so that another value makes another table;
except those in `UNHASHED`. For an unknown key, the error names the nearest known one.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from pipeline.config.asking import BudgetConfig, EndpointsConfig, RoleConfig
from pipeline.config.corpus import CorpusConfig, SamplingConfig
from pipeline.config.explaining import ExplainingConfig
from pipeline.config.features import (
    HeuristicsConfig,
    RoutingConfig,
    RulesConfig,
    ScramblingConfig,
    SelectionConfig,
)
from pipeline.config.machine import DEVICE_VARIABLE, MachineConfig
from pipeline.config.plugin_sections import with_plugins
from pipeline.config.report import ReportConfig
from pipeline.config.scoring import ScoringConfig
from pipeline.config.section import Section
from pipeline.config.subject import LocalConfig, SaeConfig, SubjectConfig
from pipeline.errors import ConfigError, nearest

if TYPE_CHECKING:  # type checkers do not know the fields of plug-ins
    _Explaining: TypeAlias = ExplainingConfig
    _Scoring: TypeAlias = ScoringConfig
else:
    _Explaining = with_plugins(ExplainingConfig, "explainers")
    _Scoring = with_plugins(ScoringConfig, "scorers")


UNHASHED = frozenset({"endpoints", "selection", "budget", "report", "machine"})
"""Sections that only decide order, location, speed and presentation; they are in no stage hash."""


class Config(Section):
    """One experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$", max_length=100)] = Field(
        description="Name of its folder in the lake, and first part of its Dagster asset keys"
    )
    seed: int = Field(0, ge=-(2**63), lt=2**63, description="Seed for all random draws")
    subject: SubjectConfig = Field(description=SubjectConfig.__doc__)
    saes: Annotated[tuple[SaeConfig, ...], Field(min_length=1)] = Field(
        description="The SAEs, all encoded in one pass",
    )
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
    report: ReportConfig = Field(ReportConfig(), description=ReportConfig.__doc__)
    machine: MachineConfig = Field(MachineConfig(), description=MachineConfig.__doc__)

    @model_validator(mode="after")
    def _sae_names_differ(self) -> Self:
        names = [sae.name.lower() for sae in self.saes]  # some file systems ignore case
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two SAEs have the same name '{name}' (case is ignored); rename one")
        return self

    @model_validator(mode="after")
    def _saes_have_weights_or_a_cache(self) -> Self:
        for sae in self.saes:
            if sae.source is None and self.corpus.cache is None:
                raise ValueError(
                    f"the source of SAE '{sae.name}' is missing; set it to a folder or file, or use a cache of "
                    "its firings (corpus.sources of kind delphi)"
                )
        return self

    @model_validator(mode="after")
    def _waits_of_batches_are_meant(self) -> Self:
        for scorer in self.scoring.scorers:
            own = self.asked_by(scorer)
            if not (own.scoring.provider == "openai" and own.endpoints.scorer.batch):
                continue
            if own.scoring.questions_per_prompt is None:
                raise ValueError(
                    "endpoints.scorer.batch needs scoring.questions_per_prompt: without it, one request is sent "
                    "before all others, and in a batch that may take a day"
                )
            if own.scoring.target_half_width is not None and not own.endpoints.scorer.batch_rounds:
                raise ValueError(
                    "endpoints.scorer.batch with scoring.target_half_width may take a day for each round; set "
                    "endpoints.scorer.batch_rounds: true if you accept that, or scoring.target_half_width: null"
                )
        return self

    @model_validator(mode="after")
    def _as_many_windows_are_kept_as_are_drawn(self) -> Self:
        n_of = self.explaining.n_sampled
        n_drawn = max(n_of["random"], -(-n_of["mixture"] // 2))
        n_kept = 10 * self.sampling.draws_per_decile
        if n_drawn > n_kept:
            raise ValueError(
                f"explaining.n_examples needs {n_drawn} windows per feature drawn from all deciles, but "
                f"sampling.draws_per_decile keeps {n_kept}; set it to {-(-n_drawn // 10)}, or show fewer"
            )
        return self

    @model_validator(mode="after")
    def _models_beside_the_lakes(self) -> Self:
        self.subject._machine = self.machine
        return self

    def in_process(self, role: RoleConfig) -> LocalConfig:
        """The model of a role with provider `local`; it is found and loaded like a subject model."""
        model = LocalConfig(model=role.model, dtype=role.dtype, precision=role.precision)
        model._machine = self.machine
        return model

    def model_named(self, name: str) -> SubjectConfig:
        """Another model in this process; it is found and loaded like the subject model."""
        return self.subject.model_copy(update={"model": name, "revision": None, "gguf_file": None})

    def section_of(self, kind: Literal["explainers", "scorers"]) -> ExplainingConfig | ScoringConfig:
        """The section of a kind of plug-ins, which also has the model that they ask."""
        return self.explaining if kind == "explainers" else self.scoring

    def asked_by(self, name: str) -> Self:
        """The experiment as seen by a scorer or role of that name.

        After an @ the name has a model of `scoring.models`, whose keys override those of the section.
        """
        model = name.partition("@")[2]
        if not model:
            return self
        endpoint = self.scoring.models[model].endpoint or self.endpoints.scorer
        endpoints = self.endpoints.model_copy(update={"scorer": endpoint})
        return self.model_copy(update={"scoring": self.scoring.with_model(model), "endpoints": endpoints})

    def with_llm(self, model: str) -> Self:
        """The experiment with another model, in int8, in each role with provider `local`.

        Unless the config sets `scoring.threshold`, it comes from controls: models of this size say yes too often.

        Raises ConfigError if there is no such role.
        """
        local = [name for name in ("explaining", "scoring") if getattr(self, name).provider == "local"]
        if not local:
            raise ConfigError(
                f"LLM={model} replaces models with provider `local`, and neither explaining nor scoring has one"
            )
        own = {"model": model, "precision": "int8"}
        roles = {name: getattr(self, name).model_copy(update=own) for name in local}
        if "scoring" in roles and "threshold" not in self.scoring.model_fields_set:
            roles["scoring"] = roles["scoring"].model_copy(update={"threshold": "controls"})
        return self.model_copy(update=roles)

    def sae(self, name: str) -> SaeConfig:
        """The SAE of that name. Raises ConfigError with the nearest names."""
        for sae in self.saes:
            if sae.name == name:
                return sae
        raise ConfigError(f"no SAE '{name}' in experiment '{self.name}'; nearest: {nearest(name, self.sae_names)}")

    @property
    def own_settings(self) -> dict[str, Any]:
        """The settings that are not defaults, by dotted key, of the sections that count in stage hashes."""
        left_out: dict[str, Any] = dict.fromkeys({*UNHASHED, "name"}, True)
        left_out["scoring"] = {"models": {"__all__": {"endpoint"}}}
        return dict(_by_key(self.model_dump(mode="json", exclude=left_out, exclude_defaults=True)))

    @property
    def has_auto_precision(self) -> bool:
        """Whether the precision of any model in this process is to be found by a trial."""
        roles: list[RoleConfig] = [self.explaining, self.scoring]
        roles += map(self.scoring.with_model, self.scoring.models)
        return self.subject.dtype == "auto" or any(
            role.provider == "local" and role.dtype == "auto" for role in roles
        )

    def in_precision(self, dtype: str) -> Self:
        """The experiment with this dtype for each `auto`."""
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
        """The experiment's own folder on this machine, absolute."""
        return self.machine.lakes_folder / self.name

    @property
    def lake_url(self) -> str | None:
        """The URL of the experiment's lake; None if the lake is a folder."""
        return f"{self.machine.lakes_url}/{self.name}" if self.machine.lakes_url else None

    @property
    def device(self) -> str:
        """The configured device; `auto` is resolved where torch is loaded."""
        return os.environ.get(DEVICE_VARIABLE) or self.machine.device


def _by_key(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested sections, each with its dotted key."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _by_key(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
