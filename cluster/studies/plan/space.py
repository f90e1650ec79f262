"""The search space: shapes of a model on a cluster, and which of them are legal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from cluster.perf_model.devices import module_of
from cluster.perf_model.prices import PriceError
from cluster.scenario.formats import Formats
from cluster.scenario.hardware import auto_activations
from cluster.scenario.load import ScenarioError
from cluster.scenario.memory_modes import MODES as ALL_MODES
from cluster.scenario.memory_modes import UNIFORM_MODES, Mode
from cluster.scenario.schema import AUTO, Scenario
from corsair_common.units import Integers
from topology.catalog import Hardware
from workloads.formats import get_format
from workloads.model import Model
from workloads.plan import Plan, PlanError, check_plan, stage_layers

MOST_SEQS = 1024
FEW_BITS = 4
BUDGETS = (128, 256, 512, 1024, 2048)
ILLEGAL = "the model cannot be cut so"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The dimensions of the search; None is every value that fits the cluster and the model."""

    tensor_parallel_size: tuple[int, ...] | None = None
    pipeline_parallel_size: tuple[int, ...] | None = None
    expert_parallel_size: tuple[int, ...] | None = None
    replicas: tuple[int, ...] | None = None
    """None: powers of two, and as many as fit."""
    memory_mode: tuple[Mode, ...] | None = None
    """None: UNIFORM_MODES, as far as the device has memories for them. ``auto`` places weights anew
    for every batch: thousands of times as long as a score."""
    weights: tuple[str, ...] | None = None
    """None: those that the hardware file names, as far as they go with the activations."""
    kv: tuple[str, ...] | None = None
    """None: those that the hardware file names, but for those of 4 bits."""
    activations: str = AUTO
    """``auto``: those that the hardware multiplies each format of weights with."""
    max_num_seqs: tuple[int, ...] = ()
    """Empty: about eight steps to each doubling, up to MOST_SEQS; one in memory mode ``auto``."""
    max_num_batched_tokens: tuple[int, ...] = BUDGETS

    def __post_init__(self) -> None:
        for name in self.__slots__:
            values = getattr(self, name)
            if values is None or all(isinstance(value, str) for value in values):
                continue
            wrong = [value for value in values if not (type(value) is int and value >= 1)]
            if wrong:
                raise ScenarioError(f"{name}: whole numbers of at least 1, got {wrong[0]!r}")
        strange = [mode for mode in self.memory_mode or () if mode not in ALL_MODES]
        if strange:
            raise ScenarioError(f"memory_mode is one of {', '.join(ALL_MODES)}, got {strange[0]!r}")

    @property
    def batch_sizes(self) -> Integers:
        """Ascending and distinct."""
        return np.unique(np.array(self.max_num_seqs or _doublings(), np.int64))

    def grid(self, mode: Mode) -> tuple[Integers, Integers]:
        """max_num_seqs and budget of every batch of a shape; for ``auto`` powers of two unless
        set."""
        sizes = self.batch_sizes
        if mode == "auto" and not self.max_num_seqs:
            sizes = sizes[(sizes & (sizes - 1)) == 0]
        each, budgets = np.meshgrid(sizes, self.budgets, indexing="ij")
        return each.ravel(), budgets.ravel()

    @property
    def budgets(self) -> Integers:
        """Ascending and distinct."""
        return np.unique(np.array(self.max_num_batched_tokens, np.int64))


def with_activations(choices: Choices, scenario: Scenario) -> Choices:
    """The choices, activations as an unresolved scenario names them if they leave them open."""
    if choices.activations != AUTO:
        return choices
    return replace(choices, activations=scenario.formats.activations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A candidate without its replicas, its max_num_seqs and its token budget."""

    plan: Plan
    """With the largest number of replicas."""
    memory_mode: Mode
    formats: Formats


@dataclass(slots=True, kw_only=True)
class Space:
    """Legal shapes, and counts of illegal ones by reason."""

    shapes: list[Shape] = field(default_factory=list)
    illegal: dict[str, int] = field(default_factory=dict)


def shapes_of(
    scenario: Scenario, hardware: Hardware, model: Model, cards: int, choices: Choices
) -> Space:
    """Every shape on ``cards`` cards; what ``check_plan`` refuses is counted, not kept."""
    space, formats = Space(), formats_of(scenario, hardware, choices)
    modes = _modes_of(choices, hardware)
    kinds = [(mode, each) for mode in dict.fromkeys(modes) for each in formats]
    grid = sum(len(choices.grid(mode)[0]) for mode, _ in kinds)
    for plan in plans_of(model, cards, choices):
        try:
            check_plan(plan, model)
        except PlanError:
            lost = len(replicas_of(plan, choices)) * grid
            space.illegal[ILLEGAL] = space.illegal.get(ILLEGAL, 0) + lost
            continue
        space.shapes += [Shape(plan=plan, memory_mode=mode, formats=each) for mode, each in kinds]
    return space


def formats_of(scenario: Scenario, hardware: Hardware, choices: Choices) -> list[Formats]:
    """All formats that are tried.

    Raises
    ------
    PriceError
        The device cannot multiply any of them.
    """
    named = {
        "weights": choices.weights or hardware.formats["weights"],
        "kv": choices.kv or _wide(hardware.formats["kv"]),
    }
    tried = [
        Formats(
            weights=get_format(weights),
            activations=get_format(_activations(hardware, choices, weights)),
            kv=get_format(kv),
            wire=get_format(scenario.formats.wire),
        )
        for weights, kv in product(
            *(
                dict.fromkeys(_known(hardware, use, each) for each in names)
                for use, names in named.items()
            )
        )
    ]
    breaches = [module_of(hardware).format_breaches(hardware, each) for each in tried]
    if all(breaches):
        raise PriceError(f"{hardware.name}: {'; '.join(breaches[0])}")
    whole = choices.weights is None and choices.kv is None
    return [each for each, wrong in zip(tried, breaches, strict=True) if not (whole and wrong)]


def _activations(hardware: Hardware, choices: Choices, weights: str) -> str:
    if choices.activations != AUTO:
        return choices.activations
    return auto_activations(hardware, get_format(weights).name)


def _wide(names: Sequence[str]) -> Sequence[str]:
    """Formats of more than 4 bits, which lose too much of the KV; all if there are no others."""
    return [name for name in names if get_format(name).element_bits > FEW_BITS] or names


def _known(hardware: Hardware, use: str, name: str) -> str:
    return hardware.formats[use][0] if name == AUTO else name


def _modes_of(choices: Choices, hardware: Hardware) -> tuple[Mode, ...]:
    near, *far = module_of(hardware).MEMORIES
    if not far and "capacity" in (choices.memory_mode or ()):
        raise ScenarioError(
            f"memory mode capacity: {hardware.name} has one memory ({near.upper()}); allowed: "
            "performance, auto"
        )
    return choices.memory_mode or (UNIFORM_MODES if far else UNIFORM_MODES[:1])


def plans_of(model: Model, cards: int, choices: Choices) -> Iterator[Plan]:
    """Every plan that fits the cards, legal or not."""
    sparse = any(layer.mlp.kind == "moe" for layer in model.layers)
    for group in _allowed(choices.tensor_parallel_size, cards):
        experts = _allowed(choices.expert_parallel_size, group if sparse else 1)
        wanted = choices.pipeline_parallel_size or _stages(model, cards // group)
        for stages in _allowed(wanted, cards // group):
            for ranks in experts:
                if group % ranks == 0:
                    room = cards // (group * stages)
                    tried = [each for each in choices.replicas or () if each <= room]
                    yield Plan(
                        tensor_parallel_size=group,
                        pipeline_parallel_size=stages,
                        expert_parallel_size=ranks,
                        replicas=max(tried, default=room),
                    )


def _stages(model: Model, most: int) -> list[int]:
    """Numbers of stages up to ``most`` that lighten the longest, first or last stage.

    The first carries the embedding and the last the head, so fewer layers there make room or time
    when the longest stays as it was. Any other number of stages only adds sends.
    """
    wanted: list[int] = []
    least = [len(model.layers) + 1] * 3
    for stages in range(1, min(len(model.layers), most) + 1):
        counts = [len(each) for each in stage_layers(Plan(pipeline_parallel_size=stages), model)]
        weighed = [max(counts), counts[0], counts[-1]]
        if any(now < before for now, before in zip(weighed, least, strict=True)):
            wanted.append(stages)
        least = [min(pair) for pair in zip(weighed, least, strict=True)]
    return wanted


def replicas_of(plan: Plan, choices: Choices) -> list[int]:
    """Numbers of replicas of the shape in the search."""
    if choices.replicas is not None:
        return [each for each in sorted(set(choices.replicas)) if each <= plan.replicas]
    powers = [1 << power for power in range(plan.replicas.bit_length())]
    return sorted({*powers, plan.replicas})


def _allowed(wanted: Sequence[int] | None, most: int) -> list[int]:
    if wanted is None:
        return list(range(1, most + 1))
    return [each for each in sorted(set(wanted)) if each <= most]


def _doublings() -> list[int]:
    return [round(2 ** (step / 8)) for step in range(8 * 10 + 1)]
