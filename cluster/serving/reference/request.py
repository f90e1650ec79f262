"""One request on its way from arrival to last token."""

from dataclasses import dataclass, field

from cluster.serving.problem import NEVER, Arrivals, Status


@dataclass(slots=True, eq=False, kw_only=True)
class Request:
    """What is asked, how far it has come, and when things happened to it."""

    number: int
    prompt: int
    output: int
    keys: list[int]
    """Of the prompt's full blocks; empty where prefixes are not cached."""
    arrival_ps: int
    router_choice: int
    carried: int = 0
    """Tokens of its prompt whose KV has come with it; 0 once it has been admitted."""

    computed: int = 0
    """Tokens whose KV exists once the steps scheduled so far have run."""
    done_output: int = 0
    target_blocks: int = 0
    """Blocks for all that it knew when it was admitted last."""
    blocks: list[int] = field(default_factory=list)
    """Names of the KV blocks it holds, in the order of its tokens."""

    replica: int = -1
    slot: int = -1
    status: Status = Status.COMPLETED
    first_scheduled_ps: int = NEVER
    first_token_ps: int = NEVER
    last_token_ps: int = NEVER
    finish_ps: int = NEVER
    preemptions: int = 0
    cached_tokens: int = NEVER

    @property
    def known(self) -> int:
        """Tokens that it has: its prompt and what it has been answered."""
        return self.prompt + self.done_output

    @property
    def remaining(self) -> int:
        """Known tokens still without KV."""
        return self.known - self.computed

    @property
    def decoding(self) -> bool:
        """Only the newest of its own tokens is still to be fed back."""
        return self.done_output >= 1 and self.remaining == 1

    @property
    def most_kv_tokens(self) -> int:
        """The last token is never fed back."""
        return self.prompt + self.output - 1


def read_requests(arrivals: Arrivals, *, prefix_caching: bool) -> list[Request]:
    """The rows of the arrivals as requests."""
    choices = arrivals.router_choice.tolist() or [0] * len(arrivals.prompt_tokens)
    carried = arrivals.carried_tokens.tolist() or [0] * len(arrivals.prompt_tokens)
    offsets = arrivals.key_offsets.tolist()
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
            arrival_ps=arrival_ps,
            router_choice=choice,
            carried=brought,
        )
        for number, (arrival_ps, prompt, output, choice, brought) in enumerate(columns)
    ]
