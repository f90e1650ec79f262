"""Which figures of a kind of hardware pricing reads: run in a process of its own, without caches.

``python benchmarks/read_figures.py KIND`` serves, plans and replays small scenarios, their
energy and cost included, with catalogues that record look-ups. Their own checks are none.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import topology.catalog as catalog
from topology.catalog.figures import Figure, Hardware

TRAFFIC: Mapping[str, Any] = {
    "synthetic": {
        "requests": 4,
        "arrivals": {"constant": {"rate_per_s": 20.0}},
        "prompt_tokens": {"fixed": 300},
        "output_tokens": {"fixed": 5},
    }
}
DENSE: Mapping[str, Any] = {"model": "llama-3.1-8b", "plan": {"tensor_parallel_size": 4}}
EXPERTS: Mapping[str, Any] = {
    "model": "gpt-oss-20b",
    "cluster": {"racks": 2, "servers_per_rack": 2},
}
POOLS: Mapping[str, Any] = {
    **DENSE,
    "plan": {"tensor_parallel_size": 1},
    "pools": {"prefill": {"cards": 1}, "decode": {"cards": 1}},
}
SERVED: Mapping[str, tuple[dict[str, Any], ...]] = {
    "dimc_card": (
        {**DENSE, "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}},
        {**DENSE, "plan": {}, "memory": {"mode": "capacity"}, "power": {"cap_w": 400.0}},
        {
            **EXPERTS,
            "plan": {"tensor_parallel_size": 8},
            "formats": {"weights": "mxint4", "kv": "mxint4", "activations": "mxint4"},
            "memory": {"mode": "auto", "load": "host"},
        },
        {**POOLS, "memory": {"mode": "capacity"}},
    ),
    "gpu": (
        *(
            {
                **model,
                "formats": {} if name is None else {"weights": name, "activations": name, "kv": kv},
            }
            for name, kv in (
                *((None, None), ("bf16", "bf16")),
                *((name, "fp8_e4m3") for name in ("fp8_e4m3", "nvfp4", "mxfp4")),
            )
            for model in (
                DENSE,
                {**EXPERTS, "plan": {"tensor_parallel_size": 2, "expert_parallel_size": 2}},
            )
        ),
        {**POOLS},
    ),
}


class Recorder(dict[str, Figure]):
    """Figures that keep the names of those that are looked up while ``recording``."""

    read: ClassVar[set[str]] = set()
    recording: ClassVar[bool] = False

    def __getitem__(self, name: str) -> Figure:
        if Recorder.recording:
            Recorder.read.add(name)
        return super().__getitem__(name)


class Recorded:
    """The slot ``Hardware.figures``, with recording values."""

    def __init__(self, slot: Any) -> None:
        self.slot = slot

    def __get__(self, owner: Hardware | None, kind: type) -> Any:
        return self if owner is None else self.slot.__get__(owner, kind)

    def __set__(self, owner: Hardware, figures: Mapping[str, Figure]) -> None:
        self.slot.__set__(owner, Recorder(figures))


@contextmanager
def recording(on: bool) -> Iterator[None]:
    """Switch recording on or off."""
    before, Recorder.recording = Recorder.recording, on
    yield
    Recorder.recording = before


def unread(kind: str) -> set[str]:
    """Figures of this kind that are never read; they have several machines' names."""
    setattr(Hardware, "figures", Recorded(Hardware.__dict__["figures"]))  # noqa: B010 - a slot
    checked: Callable[[Hardware], Iterable[str]] = vars(catalog)["breaches_of_machine"]

    def unrecorded(hardware: Hardware) -> Iterable[str]:
        with recording(False):
            return list(checked(hardware))

    vars(catalog)["breaches_of_machine"] = unrecorded
    machines = [catalog.load_hardware(name) for name in catalog.list_hardware()]
    machines = [each for each in machines if each.kind == kind]
    with recording(True):
        for machine in machines:
            price(machine)
    return {name for machine in machines for name in machine.figures} - Recorder.read


def price(machine: Hardware) -> None:
    """Serve and replay small scenarios; formats that a GPU does not have are refused."""
    from cluster import load, replay_trace, simulate

    cards = min(8, machine.count("server.cards"))
    most = {"cards_per_server": cards} | ({"servers_per_rack": 8 // cards} if cards < 8 else {})
    found = 0
    for wanted in SERVED[machine.kind]:
        cluster = {**wanted.get("cluster", {}), **most}
        scenario = {**wanted, "hardware": machine.name, "workload": TRAFFIC, "cluster": cluster}
        with suppress(ValueError):
            run = simulate(load(scenario))
            found += bool(run.summary["energy_j"] and run.summary["cost_per_hour_usd"])
    assert found, f"nothing ran on {machine.name}"
    steps = {"program": {"phase": "decode", "steps": 2, "batch": 4, "context": 256}}
    first = {**SERVED[machine.kind][0], "hardware": machine.name, "workload": steps}
    replay_trace(load({**first, "cluster": most}))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(sorted(unread(sys.argv[1]))))
