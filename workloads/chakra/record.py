"""One node of a file, and the meaning of attributes; common to both file forms."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from workloads.chakra.columns import COLLECTIVES, LAST_QUEUE, NOT_RECORDED, ChakraError, NodeType

_MOST = 2**63 - 1
_LONGEST_US = _MOST // 1_000_000

INTEGER_ATTRIBUTES = {
    "comm_type": "comm_type",
    "comm_size": "comm_bytes",
    "comm_src": "source",
    "comm_dst": "target",
    "comm_tag": "tag",
    "num_ops": "flop",
    "tensor_size": "memory_bytes",
    "stream": "cuda_stream",
    "corsair_queue": "queue",
    "duration_ps": "duration_ps",
}
"""Attribute -> field of Record. The last two are our own: other readers ignore them. Used too
are is_cpu_op, pg_name and involved_dim."""
_LEAST = {"comm_tag": -_MOST, "stream": -_MOST - 1}
_LARGEST = {"comm_src": 2**31 - 1, "comm_dst": 2**31 - 1, "corsair_queue": LAST_QUEUE}


@dataclass(slots=True, kw_only=True)
class Record:
    """A node; absent values are NOT_RECORDED, except the duration, which is 0."""

    id: int
    name: str = ""
    type: int = 0
    data_deps: Sequence[int] = ()
    control_deps: Sequence[int] = ()
    duration_us: int = 0
    on_cpu: bool = False
    comm_type: int = NOT_RECORDED
    comm_bytes: int = NOT_RECORDED
    source: int = NOT_RECORDED
    target: int = NOT_RECORDED
    tag: int = 0
    flop: int = NOT_RECORDED
    memory_bytes: int = NOT_RECORDED
    group_name: str = ""
    cuda_stream: int | None = None
    """CUDA stream of a kernel, any number; a node on the CPU has none, whatever it says."""
    queue: int = NOT_RECORDED
    """Our own queue, where it is not that of the type."""
    duration_ps: int = NOT_RECORDED
    """Set if the duration is not a whole number of microseconds."""

    @property
    def is_collective(self) -> bool:
        """Whether the node is a collective between ranks (a launch on the CPU is not)."""
        return self.type == NodeType.COLLECTIVE and not self.on_cpu and self.comm_type >= 0

    @property
    def is_launch(self) -> bool:
        """Whether this runs on the CPU and makes another node communicate."""
        return self.on_cpu and NodeType.SEND <= self.type <= NodeType.COLLECTIVE


@dataclass(slots=True, kw_only=True)
class RankFile:
    """The content of one rank's file."""

    path: str
    records: list[Record] = field(default_factory=list)
    groups: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Process groups named in the file itself."""
    unused: Counter[str] = field(default_factory=Counter)
    unknown_fields: int = 0
    unsized: int = 0

    def refusal(self, node: int, what: str) -> ChakraError:
        """The error that names this file and a node of it."""
        return ChakraError(f"{self.path}: node {node}: {what}")


def take_attribute(file: RankFile, record: Record, name: str, value: object) -> None:
    """Store one attribute in its field, or count it as unused."""
    if name in INTEGER_ATTRIBUTES:
        least, most = _LEAST.get(name, 0), _LARGEST.get(name, _MOST)
        number = whole(file, record.id, name, value, least=least, most=most)
        setattr(record, INTEGER_ATTRIBUTES[name], number)
    elif name == "is_cpu_op":
        record.on_cpu = bool(whole(file, record.id, name, value))
    elif name == "pg_name":
        record.group_name = str(value)
    elif name == "involved_dim":
        _check_dimensions(file, record, value)
    else:
        file.unused[name] += 1


def check_record(file: RankFile, record: Record) -> None:
    """Refuse a node that lacks a required attribute of its type."""
    if not 0 <= record.id <= _MOST:
        raise file.refusal(record.id, "ids must lie in 0..2^63-1")
    if not 0 <= record.duration_us <= _LONGEST_US:
        raise file.refusal(record.id, f"a duration of {record.duration_us} us is out of range")
    if record.on_cpu:
        return
    if record.type == NodeType.COLLECTIVE:
        _check_collective(file, record)
    elif record.type in (NodeType.SEND, NodeType.RECV):
        peer = "comm_dst" if record.type == NodeType.SEND else "comm_src"
        for name in (peer, "comm_size"):
            if getattr(record, INTEGER_ATTRIBUTES[name]) < 0:
                raise file.refusal(record.id, f"a send or receive needs {name}")


def _check_collective(file: RankFile, record: Record) -> None:
    if record.comm_type < 0 and record.comm_bytes < 0 and record.duration_us > 0:
        file.unsized += 1
        return
    if not 0 <= record.comm_type < len(COLLECTIVES):
        found = record.comm_type if record.comm_type >= 0 else "nothing"
        codes = ", ".join(f"{code} {name}" for code, name in enumerate(COLLECTIVES))
        raise file.refusal(record.id, f"comm_type: found {found}; one of {codes} is needed")
    if record.comm_bytes < 0:
        if COLLECTIVES[record.comm_type] != "barrier":
            raise file.refusal(record.id, "a collective needs comm_size")
        record.comm_bytes = 0


def _check_dimensions(file: RankFile, record: Record, value: object) -> None:
    chosen = list(value) if isinstance(value, list | tuple) else [value]
    if not all(chosen):
        raise file.refusal(
            record.id,
            "involved_dim leaves out a dimension of the network; name the ranks in a process "
            "group (pg_name and comm_group.json) instead",
        )


def whole(
    file: RankFile, node: int, name: str, value: object, *, least: int = 0, most: int = _MOST
) -> int:
    """Read an integer from ``least`` to ``most``, or raise an error with place and reason."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or not least <= value <= most:
        raise file.refusal(
            node,
            f"{name}: found {str(value)[:60]!r}; a whole number from {least} to {most} is needed",
        )
    return int(value)
