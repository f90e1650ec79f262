"""Lists of names that two packages use, each written once; where codes are kept, in their order."""

from enum import IntEnum
from typing import Literal, TypeAlias, get_args

Confidence: TypeAlias = Literal["published", "secondary", "derived", "assumed"]

CONFIDENCES: tuple[Confidence, ...] = get_args(Confidence)
"""What stands behind a figure of the hardware, the firmest first."""

RangeOf: TypeAlias = Literal["source", "choice", "fit"]

RANGES: tuple[RangeOf, ...] = get_args(RangeOf)
"""What low and high of a figure are: how far its source may be off; what can be bought or set; how
far apart fits on measured or published points may lie."""

SLOS = ("ttft_s", "tpot_s", "e2e_s")
"""The bounds that make service good, as keys of a scenario's ``slo``."""


Phase: TypeAlias = Literal["prefill", "decode", "mixed"]

PHASES: tuple[Phase, ...] = get_args(Phase)
"""What a batch of a program does; a column has their positions."""

Control: TypeAlias = Literal["auto", "follow", "ignore"]

CONTROL: tuple[Control, ...] = get_args(Control)
"""How control dependencies of a Chakra trace are read."""


STATE = -(1 << 40)
"""In place of a window of tokens: a state of fixed size, one block whatever a sequence's length. So
far below 0 that a window's blocks, at least one, come out as one."""


class Status(IntEnum):
    """What became of a request."""

    COMPLETED = 0
    TOO_LONG = 1
    """prompt + output exceed max_model_len."""
    NO_ROOM = 2
    """Its KV would not fit an empty replica."""

    @property
    def word(self) -> str:
        """As tables have it."""
        return "completed" if self is Status.COMPLETED else f"rejected_{self.name.lower()}"
