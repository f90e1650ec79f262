"""What the identity of a run is a digest of: its content, without names, paths and notes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from cluster.scenario.formats import Formats, formats_of
from cluster.scenario.operations import chakra_folder
from cluster.scenario.pools import INHERITED, OF_HARDWARE
from cluster.scenario.router_settings import router_content
from cluster.scenario.run_id import JsonText, encoded, run_id
from cluster.scenario.schema import Scenario, Transfer
from cluster.scenario.speculative import Speculative, probabilities
from cluster.scenario.workload import ProgramSteps
from topology.catalog import Hardware
from workloads.formats import get_format
from workloads.model import Model

if TYPE_CHECKING:
    from cluster.scenario.resolve import Planned
    from topology.astra_network import Network
    from workloads.chakra.program import Endpoint
    from workloads.requests import Requests

Content: TypeAlias = dict[str, object]

OF_TRAFFIC = ("requests", "slo", "warmup_s")
"""Of a run's content, what changes neither layout nor prices."""
READ = ("program", "chakra")
"""Uses of files that hold operations."""


def content_text(opened: "Hardware | Model | Requests") -> JsonText:
    """What has been opened as the identity of a run has it: without names and notes."""
    if isinstance(opened, Hardware):
        return encoded({name: figure.value for name, figure in opened.figures.items()})
    if isinstance(opened, Model):
        shape = {**asdict(opened), "name": "", "notes": ()}
        if not opened.pooling:
            del shape["pooling"]  # of models that make text, the identity is as it was before
        return encoded(shape)
    return encoded(opened.digest)


@lru_cache(maxsize=64)
def formats_text(formats: Formats) -> JsonText:
    """Number formats as the identity of a run has them: without names."""
    return encoded({use: {**each, "name": ""} for use, each in asdict(formats).items()})


def served_content(planned: "Planned") -> Content:
    """What a serving run depends on beside the hardware, the model and the requests."""
    scenario = planned.scenario
    content: Content = {
        **_racks(scenario),
        **_work(planned),
        "scheduler": {
            **scenario.scheduler.model_dump(),
            "max_model_len": planned.max_model_len,
            "enable_prefix_caching": planned.prefix_caching,
        },
        "concurrency": planned.concurrency,
        "router": router_content(scenario.router),
        "slo": scenario.slo.model_dump(),
        "warmup_s": scenario.warmup_s,
    }
    if scenario.speculative is not None:
        content["speculative"] = _speculative(scenario.speculative)
    if scenario.pools is None:
        return content
    # What each pool has of its own stands with the pool.
    kept = {name: content[name] for name in content if name not in (*INHERITED, "router")}
    opened = {*OF_HARDWARE}
    pools = scenario.pools.model_dump(exclude={"prefill": opened, "decode": opened})
    transfer = scenario.transfer or Transfer()
    content = {**kept, "pools": pools, "transfer": transfer.model_dump(exclude={"format"})}
    formats = [formats_text(formats_of(pool.formats)) for _, pool in scenario.pools]
    if formats[0] != formats[1]:
        content |= {"formats": formats, "kv_format": transfer.format}
    return content


def _speculative(speculative: Speculative) -> Content:
    """Drafts without names and paths; the probabilities that a table of lengths gives."""
    content = speculative.model_dump(exclude={"model", "acceptance"})
    if content["draft_on"] is not None:
        del content["draft_on"]["hardware"]
    return {**content, "acceptance": probabilities(speculative).tolist()}


def machine_id(content: Mapping[str, object], scenario: Scenario, model: Model) -> str:
    """The identity of layout and prices of a serving run.

    The seed matters where tokens are dealt to experts, the requests where ``auto`` places weights
    for them.
    """
    dropped = {*OF_TRAFFIC, "seed"}
    if any(layer.mlp.experts for layer in model.layers):
        dropped.remove("seed")
    pools = scenario.pools
    parts = (scenario,) if pools is None else (pools.prefill, pools.decode)
    if any(part.memory.mode == "auto" for part in parts):
        dropped.remove("requests")
    return run_id({key: value for key, value in content.items() if key not in dropped})


def replayed_content(
    scenario: Scenario,
    network: "Network | None",
    planned: "Planned | None",
    endpoint: "Endpoint | None",
    inputs: Sequence[Mapping[str, object]],
) -> Content:
    """What a replay depends on beside the figures of its hardware and the model."""
    wire = {**asdict(get_format(scenario.formats.wire)), "name": ""}
    return {
        **_racks(scenario),
        **({} if planned is None else _planned(planned)),
        "replay": _operations(scenario, planned, inputs),
        "reading": _reading(scenario),
        "network": None if network is None else [asdict(each) for each in network.dimensions],
        "wire": wire if network is None else None,
        "endpoint": None if endpoint is None else asdict(endpoint),
        "fabric": scenario.fabric.model_dump(),
    }


def _racks(scenario: Scenario) -> Content:
    down = [part.match for part in scenario.state if part.down]
    return {
        **({"down": down} if down else {}),
        "cluster": scenario.cluster.model_dump(exclude={"fabric"}),  # its figures say it
        "links": [link.model_dump() for link in scenario.links],
        "collectives": scenario.collectives.model_dump(),
    }


def _memory(scenario: Scenario) -> Content:
    """Without tiers the identity is as it was before there were any."""
    content = scenario.memory.model_dump()
    if not scenario.memory.kv_tiers:
        del content["kv_tiers"], content["kv_write"]
    if not scenario.memory.kv_tiers or scenario.memory.kv_policy == "lru":
        del content["kv_policy"]
    return content


def _work(planned: "Planned") -> Content:
    """What the work of a model depends on."""
    scenario = planned.scenario
    return {
        "formats": formats_text(planned.formats),
        "plan": asdict(planned.plan),
        "memory": _memory(scenario),
        "experts": scenario.experts.model_dump(),
        "seed": scenario.seed,
    }


def _planned(planned: "Planned") -> Content:
    """The same of a program: nothing that only serving knows."""
    scheduler = planned.scenario.scheduler
    return {
        **_work(planned),
        "scheduler": {
            "max_num_seqs": scheduler.max_num_seqs,
            "max_num_batched_tokens": scheduler.max_num_batched_tokens,
            "block_size": scheduler.block_size,
            "max_model_len": planned.max_model_len,
        },
    }


def _operations(
    scenario: Scenario, planned: "Planned | None", inputs: Sequence[Mapping[str, object]]
) -> object:
    """A generated program with its defaults filled in, or the digests of the files read."""
    requested = scenario.workload.program
    if not isinstance(requested, ProgramSteps):
        return [entry["sha256"] for entry in inputs if entry["use"] in READ]
    if planned is None:
        return {}
    content = requested.model_dump(mode="json")
    if requested.slots == "auto":
        content["slots"] = planned.plan.pipeline_parallel_size
    if requested.phase == "decode":
        content |= {"steps": requested.steps or 1, "growing": requested.growing is not False}
    return content


def _reading(scenario: Scenario) -> Content:
    """How a Chakra folder is read, but not where it lies."""
    if scenario.workload.chakra is None:
        return {}
    return chakra_folder(scenario).model_dump(include={"control", "copies"})
