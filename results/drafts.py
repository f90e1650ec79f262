"""Speculative decoding in a run's summary."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from corsair_common.units import Integers
from results.schema.serving import draft_columns
from results.summary_parts import Summary, ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """Speculative decoding of a whole run, the warm-up included."""

    accepted_count: Integers
    """[k + 1] verifications by the number of drafts that they accepted."""
    draft_tokens: int
    """Drafts verified."""
    draft_j: float | None = None
    """Energy of cards that drafts have for themselves."""

    def summary(self) -> Summary:
        """Keys of vLLM's bench serve."""
        count = int(self.accepted_count.sum())
        accepted = int(self.accepted_count @ np.arange(len(self.accepted_count)))
        share = ratio(accepted, self.draft_tokens)
        return {
            "spec_decode_acceptance_rate": None if share is None else 100 * share,
            "spec_decode_acceptance_length": 1 + accepted / count if count else None,
            "spec_decode_num_drafts": count,
            "spec_decode_draft_tokens": self.draft_tokens,
            "spec_decode_accepted_tokens": accepted,
            "draft_energy_j": self.draft_j,
        }


NO_DRAFTS: Summary = dict.fromkeys(column.name for column in draft_columns())
"""Without speculation."""


def with_drafts(summary: Mapping[str, Any], draft_j: float) -> Summary:
    """What a token takes with the energy of cards that drafts have for themselves."""
    each_j, tokens = summary["joules_per_output_token"], summary["total_output_tokens"]
    own_j = None if each_j is None or not tokens else each_j + draft_j / tokens
    return {"joules_per_output_token_with_drafts": own_j}
