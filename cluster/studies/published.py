"""Published figures as data: claim, source, conditions, tolerance."""

from importlib import resources
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from corsair_common.names import Confidence
from topology.strict_yaml import parse_document

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Part(BaseModel):
    """A frozen block of the file that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Beside(Part):
    """One simulated figure that is compared with a claim."""

    label: str
    fitted: bool = False
    """The claim set a figure of the catalogue; agreement is no evidence."""
    tolerance: Positive | None = None
    """Largest relative deviation that counts as agreement; None: reported only."""
    bound: Literal["at_most", "at_least"] | None = None
    """The claim is a limit: agreement is on its side."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> "Beside":
        if self.fitted and (self.tolerance is not None or self.bound is not None):
            raise ValueError("a fitted figure has no tolerance: it is no evidence")
        if self.tolerance is not None and self.bound is not None:
            raise ValueError("a limit has no tolerance")
        return self


class Claim(Part):
    """One published figure."""

    section: str
    value: Positive
    unit: str
    source: str
    """Short names, as in ``Published.sources``, with commas between."""
    confidence: Confidence
    conditions: str
    rows: dict[str, Beside]
    """By the name of the simulated figure."""


class Published(Part):
    """All claims, in the order in which they are shown."""

    sources: dict[str, str]
    claims: Annotated[tuple[Claim, ...], Field(strict=False)]

    def value(self, row: str) -> float:
        """The published value for the simulated figure ``row``."""
        return next(claim.value for claim in self.claims if row in claim.rows)


def load_published() -> Published:
    """Read the published figures of the package."""
    path = resources.files("cluster") / "bundled" / "published.yaml"
    text = path.read_text("utf-8")
    return Published.model_validate(parse_document(text, "published.yaml").mapping())
