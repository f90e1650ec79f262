"""One request on its way from arrival to last token."""

from dataclasses import dataclass, field

import numpy as np

from cluster.serving.interface import Arrivals
from corsair_common.names import Status
from corsair_common.units import NEVER


@dataclass(slots=True, eq=False, kw_only=True)
class Request:
    """What is wanted, how far it has come, and when things happened to it."""

    number: int
    prompt: int
    output: int
    keys: list[int]
    """Of the prompt's full blocks; empty where prefixes are not cached."""
    answer_key: int
    """Key of the first full block after those, which no other request has; the rest count on."""
    arrival_ps: int
    router_choice: int
    carried: int = 0
    """Tokens of its prompt whose KV has come with it; 0 once it has been admitted."""

    computed: int = 0
    """Tokens whose KV exists once the steps scheduled so far have run."""
    done_output: int = 0
    """Tokens emitted."""
    flights: set[int] = field(default_factory=set)
    """Batches in flight that hold it, by their numbers; also those from before a preemption."""
    emits: set[int] = field(default_factory=set)
    """Those of them at whose end it emits a token."""

    blocks: list[int] = field(default_factory=list)
    """Names of the KV blocks it holds, in the order of its tokens (with prefix caching)."""
    named: int = 0
    """Leading blocks whose keys are settled."""
    held: list[int] = field(default_factory=list)
    """KV blocks that it holds of each kind of layer."""

    replica: int = -1
    slot: int = -1
    status: Status = Status.COMPLETED
    first_scheduled_ps: int = NEVER
    first_token_ps: int = NEVER
    last_token_ps: int = NEVER
    last_back_ps: int = NEVER
    """When its newest token is back at the first stage (asynchronous scheduling only)."""
    finish_ps: int = NEVER
    preemptions: int = 0
    cached_tokens: int = NEVER
    order: int = -1
    """Its age among running requests: with one stage the order of admission, as in vLLM; with
    several its number."""
    first_row: int = -1
    """Step of its replica at which it was admitted last."""
    read_row: int = -1
    """Step that held the last chunk of its prompt."""

    @property
    def known(self) -> int:
        """Tokens that it has: its prompt and what has been emitted."""
        return self.prompt + self.done_output

    @property
    def pending(self) -> int:
        """Tokens that batches in flight will emit for it."""
        return len(self.emits)

    @property
    def remaining(self) -> int:
        """Tokens without KV, of those known and those in the making."""
        return self.known + self.pending - self.computed

    @property
    def decoding(self) -> bool:
        """Only the newest of its own tokens is still to be fed back."""
        return self.known + self.pending > self.prompt and self.remaining == 1

    @property
    def complete(self) -> bool:
        """Its last token is there or in the making."""
        return self.done_output + self.pending == self.output

    @property
    def most_kv_tokens(self) -> int:
        """The last token is never fed back."""
        return self.prompt + self.output - 1

    def key(self, block: int) -> int:
        """The key of its full block of this number."""
        beyond = block - len(self.keys)
        return self.keys[block] if beyond < 0 else self.answer_key + beyond


def read_requests(arrivals: Arrivals, *, prefix_caching: bool, block_size: int) -> list[Request]:
    """The rows of the arrivals as requests."""
    count = len(arrivals.prompt_tokens)
    choices = arrivals.router_choice.tolist() or [0] * count
    carried = arrivals.carried_tokens.tolist() or [0] * count
    offsets = arrivals.key_offsets.tolist()
    full = (arrivals.prompt_tokens + arrivals.output_tokens - 1) // block_size
    answer_keys = arrivals.key_count + np.concatenate([[0], np.cumsum(full)])
    columns = zip(
        arrivals.arrival_ps.tolist(),
        arrivals.prompt_tokens.tolist(),
        arrivals.output_tokens.tolist(),
        choices,
        carried,
        strict=True,
    )
    return [
        Request(
            number=number,
            prompt=prompt,
            output=output,
            keys=arrivals.keys[offsets[number] : offsets[number + 1]].tolist()
            if prefix_caching
            else [],
            answer_key=int(answer_keys[number]),
            arrival_ps=arrival_ps,
            router_choice=choice,
            carried=brought,
        )
        for number, (arrival_ps, prompt, output, choice, brought) in enumerate(columns)
    ]
