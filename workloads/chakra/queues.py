"""The queue of each node: CUDA streams are queues of kernels. Which queues nothing orders."""

from collections.abc import Mapping
from itertools import combinations

from workloads.chakra.columns import HOST, LAST_QUEUE, ChakraError, NodeType, stream_of
from workloads.chakra.record import RankFile, Record
from workloads.chakra.toposort import Ordered
from workloads.program.schema import RECEIVE, SEND

_WORDS = ("compute", "network", "memory", "sends", "receives")


def take_queues(file: RankFile, part: Ordered) -> dict[int, str]:
    """Set ``queue`` of every record of a rank; returns the name of each queue of kernels.

    Kernels of one CUDA stream run one after another; the CPU has a queue of its own. A stream takes
    the queue of its first kernel's type if no other node needs it, and else the next free number.
    Sends and receives of a stream do not wait for its kernels, as NCCL runs them side by side.

    Raises
    ------
    ChakraError
        More streams than there are queues.
    """
    records = part.records
    streams: dict[tuple[int, int], int] = {}
    used = set()
    for record in records:
        own = _own(record)
        if own is not None:
            streams.setdefault(own, stream_of(record.type, on_cpu=False))
        else:
            record.queue = _queue(record) if record.queue < 0 else record.queue
            used.add(record.queue)
    names = {queue: f"queue {queue}" for queue in used} | dict(enumerate(_WORDS))
    numbers: dict[tuple[int, int], int] = {}
    for own, wanted in streams.items():
        free = (each for each in (wanted, *range(HOST + 1, LAST_QUEUE + 1)) if each not in used)
        if (number := next(free, None)) is None:
            raise ChakraError(
                f"{file.path}: more than {len(numbers)} CUDA streams, which is too many"
            )
        used.add(number)
        numbers[own], names[number] = number, f"CUDA stream {own[1]}"
    for record in records:
        if (own := _own(record)) is not None:
            record.queue = numbers[own]
    return names


def _own(record: Record) -> tuple[int, int] | None:
    """Key of the queue of a CUDA stream's kernel; None for other nodes."""
    on_cpu = record.on_cpu or record.type == NodeType.METADATA
    if record.cuda_stream is None or on_cpu or record.queue >= 0:
        return None
    of_type = stream_of(record.type, on_cpu=False)
    return of_type if of_type in (SEND, RECEIVE) else 0, record.cuda_stream


def _queue(record: Record) -> int:
    return stream_of(record.type, on_cpu=record.on_cpu)


def unordered(part: Ordered, names: Mapping[int, str]) -> list[tuple[str, str]]:
    """Pairs of named queues of one rank whose kernels no dependency orders, in either direction.

    Kernels are what runs on the device but messages; a path may lead through any nodes, and along
    queues.
    """
    records = part.records
    kernel = [_is_kernel(record) for record in records]
    queues = sorted(
        {record.queue for record, is_one in zip(records, kernel, strict=True) if is_one}
    )
    if len(queues) < 2:
        return []
    deps: list[list[int]] = [[] for _ in records]
    for waits, dep in zip(part.edges.waits.tolist(), part.edges.deps.tolist(), strict=True):
        deps[waits].append(dep)
    behind: list[int] = []  # queues with kernels that end before the node starts, or with it
    last: dict[int, int] = {}
    reached = dict.fromkeys(queues, 0)
    for place, record in enumerate(records):
        before = last.get(record.queue, 0)
        for dep in deps[place]:
            before |= behind[dep]
        if kernel[place]:
            reached[record.queue] |= before
            before |= 1 << record.queue
        last[record.queue] = before
        behind.append(before)
    return [
        (names[one], names[two])
        for one, two in combinations(queues, 2)
        if not (reached[one] >> two & 1 or reached[two] >> one & 1)
    ]


def _is_kernel(record: Record) -> bool:
    messages = record.type in (NodeType.SEND, NodeType.RECV)
    return not (record.on_cpu or record.type == NodeType.METADATA or messages)
