"""Base class of scenario blocks: frozen values that reject unknown keys."""

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Count: TypeAlias = Annotated[int, Field(ge=1)]
NoTokens: TypeAlias = Annotated[int, Field(ge=0, le=2**40)]
"""As ``Tokens``, or 0 for none."""
Tokens: TypeAlias = Annotated[int, Field(ge=1, le=2**40)]
Table: TypeAlias = Annotated[int, Field(ge=1, le=2**17)]
"""Prices are tabulated up to here: longer tables would only eat memory."""
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scale: TypeAlias = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LONGEST_S = 9.2e6
"""A run holds 106 days."""
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)]


class Part(BaseModel):
    """A frozen piece of a scenario that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
