"""Base class of scenario blocks: frozen values that reject unknown keys."""

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Count: TypeAlias = Annotated[int, Field(ge=1)]
NoTokens: TypeAlias = Annotated[int, Field(ge=0, le=2**40)]
"""As ``Tokens``, or 0 for none."""
Tokens: TypeAlias = Annotated[int, Field(ge=1, le=2**40)]
Table: TypeAlias = Annotated[int, Field(ge=1, le=2**17)]
"""Prices are tabulated up to this size: longer tables would waste memory."""
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scale: TypeAlias = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LONGEST_S = 9.2e6
"""The limit of a run is 106 days."""
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)]


class Part(BaseModel):
    """A frozen block of a scenario that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
