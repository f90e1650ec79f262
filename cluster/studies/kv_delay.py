"""What the way between two pools costs a prompt of mean length, without other traffic."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cluster.disaggregated.kv_format import kv_path
from cluster.disaggregated.kv_transfer import alone_s, break_even_s
from cluster.scenario.pools import POOLS
from cluster.scenario.resolve import Resolved
from cluster.serving.run import lay_out, map_of

MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class KvDelay:
    """KV of one prompt from the end of its prefill until the decode pool has it."""

    prompt_tokens: int
    """Mean of the requests."""
    output_tokens: int
    kv_bytes: int
    """On the wire."""
    formats: tuple[str, str]
    """Of the pools."""
    converted_by: str | None
    """The pool whose cards convert; None where the formats are one."""
    conversion_s: float
    hand_over_s: float
    network_s: float
    break_even_s: float
    """What each output token must save to make up for all of it."""

    @property
    def delay_s(self) -> float:
        return self.conversion_s + self.network_s + self.hand_over_s

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "delay_s": self.delay_s}

    def line(self) -> str:
        """In words."""
        converted = ""
        if self.converted_by is not None:
            converted = (
                f" converted from {self.formats[0]} to {self.formats[1]} by the {self.converted_by}"
                f" pool in {1e3 * self.conversion_s:,.3g} ms,"
            )
        return (
            f"KV of a prompt of {self.prompt_tokens:,} tokens:{converted} {self.kv_bytes / MB:,.4g}"
            f" MB on the network for {1e3 * self.network_s:,.4g} ms alone, handed over in "
            f"{1e3 * self.hand_over_s:,.4g} ms: pays where each of {self.output_tokens:,} output "
            f"tokens comes {1e3 * self.break_even_s:,.3g} ms sooner"
        )


def kv_delay(resolved: Resolved) -> KvDelay:
    """The delay of a run with pools.

    Raises
    ------
    PlacementError, DoesNotFit
        A pool cannot run; both carry ``exit_code`` 3.
    """
    pools, requests = resolved.pools, resolved.requests
    if pools is None:
        raise ValueError("the scenario has no pools")
    mapped = map_of(resolved.scenario, resolved.racks)
    first, second = (lay_out(pool, lambda *_: mapped).cards for pool in pools)
    kv = kv_path(resolved, pools, mapped[1], (first, second))
    prompt, output = (
        max(1, round(float(lengths.mean()))) if len(lengths) else 1
        for lengths in (requests.prompt_tokens, requests.output_tokens)
    )
    kv_bytes, delay_s = alone_s(kv, prompt)
    before_after_ps = kv.conversion_ps(np.array([prompt]), last_layer=False)
    conversion_s = float(np.sum(before_after_ps)) * 1e-12
    hand_over_s = kv.hand_over_ps * 1e-12
    return KvDelay(
        prompt_tokens=prompt,
        output_tokens=output,
        kv_bytes=kv_bytes,
        formats=(pools[0].formats.kv.name, pools[1].formats.kv.name),
        converted_by=None if kv.conversion is None else POOLS[kv.conversion.on],
        conversion_s=conversion_s,
        hand_over_s=hand_over_s,
        network_s=delay_s - conversion_s - hand_over_s,
        break_even_s=break_even_s(delay_s, output),
    )
