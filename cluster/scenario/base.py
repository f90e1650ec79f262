"""Base class of scenario blocks: frozen values that reject unknown keys."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Count: TypeAlias = Annotated[int, Field(ge=1)]
NoTokens: TypeAlias = Annotated[int, Field(ge=0, le=2**40)]
"""As ``Tokens``, or 0 for none."""
Tokens: TypeAlias = Annotated[int, Field(ge=1, le=2**40)]
Table: TypeAlias = Annotated[int, Field(ge=1, le=2**17)]
"""Prices are tabulated up to this size: longer tables would waste memory."""
LEAST_SCALE = 1e-6
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scale: TypeAlias = Annotated[float, Field(ge=LEAST_SCALE, le=1e6, allow_inf_nan=False)]


def _above_zero(value: float) -> float:
    if 0 < value < LEAST_SCALE:
        raise ValueError(f"must be 0 (down) or at least {LEAST_SCALE:g}")
    return value


ScaleOrDown: TypeAlias = Annotated[
    float, Field(ge=0, le=1e6, allow_inf_nan=False), AfterValidator(_above_zero)
]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LONGEST_S = 9.2e6
"""The limit of a run is 106 days."""
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)]


class Part(BaseModel):
    """A frozen block of a scenario that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
