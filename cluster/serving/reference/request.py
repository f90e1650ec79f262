"""One request, from arrival to last token."""

from dataclasses import dataclass, field

import numpy as np

from cluster.serving.interface import Arrivals, Limits
from corsair_common.names import Status
from corsair_common.units import NEVER


@dataclass(slots=True, eq=False, kw_only=True)
class Request:
    """A request: its lengths, its progress and its times."""

    number: int
    prompt: int
    output: int
    keys: list[int]
    """Of the prompt's full blocks; empty without prefix caching."""
    answer_key: int
    """Key of the first full block after those, unique to the request; later ones count up."""
    arrival_ps: int
    router_choice: int
    carried: int = 0
    """Prompt tokens whose KV arrived with it; 0 after its admission."""
    draw: int = 0
    """Draw of its next verification."""
    delay_ps: int = 0
    """From the end of the turn before in its session to its arrival."""
    followers: list["Request"] = field(default_factory=list)
    """Turns that wait for this one."""
    age: int = -1
    """Its place in the order of arrivals."""

    reserved: int = 0
    """Tokens whose blocks are counted although it is not admitted: its KV comes first."""
    loaded: int = 0
    """Tokens of its prefix that were found with the help of tiers."""
    loaded_ps: int = NEVER
    """When these are there."""

    computed: int = 0
    """Tokens whose KV exists once the steps scheduled so far have run."""
    done_output: int = 0
    """Tokens emitted."""
    flights: set[int] = field(default_factory=set)
    """Batches in flight with its tokens, by number, including those from before a preemption."""
    emits: set[int] = field(default_factory=set)
    """Those of them that emit a token of it."""

    blocks: list[int] = field(default_factory=list)
    """Its block table, in the order of its tokens (with prefix caching)."""
    reached: int = 0
    """Most tokens for which it was given blocks, rejected drafts and lookahead included."""
    named: int = 0
    """Leading blocks with final keys."""
    held: list[int] = field(default_factory=list)
    """Its KV blocks in each kind of layer."""

    replica: int = -1
    slot: int = -1
    status: Status = Status.COMPLETED
    first_scheduled_ps: int = NEVER
    first_token_ps: int = NEVER
    last_token_ps: int = NEVER
    last_back_ps: int = NEVER
    """Arrival of its last token at the first stage (asynchronous scheduling only)."""
    finish_ps: int = NEVER
    preemptions: int = 0
    cached_tokens: int = NEVER
    order: int = -1
    """Its age among running requests: with one stage the order of admission, as in vLLM; with
    several that of arrival."""

    @property
    def known(self) -> int:
        """Prompt and emitted tokens."""
        return self.prompt + self.done_output

    @property
    def pending(self) -> int:
        """Tokens that batches in flight will emit for it."""
        return len(self.emits)

    @property
    def remaining(self) -> int:
        """Tokens without KV, of those known and pending."""
        return self.known + self.pending - self.computed

    @property
    def decoding(self) -> bool:
        """Whether only its last generated token has no KV."""
        return self.known + self.pending > self.prompt and self.remaining == 1

    @property
    def complete(self) -> bool:
        """Whether its last token is emitted or pending."""
        return self.done_output + self.pending == self.output

    def most_kv_tokens(self, limits: Limits) -> int:
        """Peak KV tokens; the last token is never fed back, but drafts may lie beyond it."""
        own = self.prompt + self.output - 1
        return min(own + limits.drafts + limits.lookahead, limits.max_model_len)

    def key(self, block: int) -> int:
        """The key of its full block of this number."""
        beyond = block - len(self.keys)
        return self.keys[block] if beyond < 0 else self.answer_key + beyond


def read_requests(arrivals: Arrivals, *, prefix_caching: bool, block_size: int) -> list[Request]:
    """The rows of the arrivals as requests."""
    count = len(arrivals.prompt_tokens)
    choices = arrivals.router_choice.tolist() or [0] * count
    carried = arrivals.carried_tokens.tolist() or [0] * count
    draws = arrivals.first_draw.tolist() or [0] * count
    offsets = arrivals.key_offsets.tolist()
    full = (arrivals.prompt_tokens + arrivals.output_tokens - 1) // block_size
    answer_keys = arrivals.key_count + np.concatenate([[0], np.cumsum(full)])
    columns = zip(
        arrivals.arrival_ps.tolist(),
        arrivals.prompt_tokens.tolist(),
        arrivals.output_tokens.tolist(),
        choices,
        carried,
        draws,
        strict=True,
    )
    requests = [
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
            draw=draw,
        )
        for number, (arrival_ps, prompt, output, choice, brought, draw) in enumerate(columns)
    ]
    for turn, before in enumerate(arrivals.previous.tolist()):
        if before != NEVER:
            requests[turn].delay_ps = int(arrivals.delay_ps[turn])
            requests[before].followers.append(requests[turn])
    return requests
