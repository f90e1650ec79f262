"""The draft model of a scenario: its shape, its plan and its cards."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cluster.scenario.formats import Formats, formats_of
from cluster.scenario.hardware import own_hardware, with_formats
from cluster.scenario.load import ScenarioError
from cluster.scenario.run_content import content_text, formats_text
from cluster.scenario.schema import Formats as FormatNames
from cluster.scenario.schema import PlanSettings, Scenario
from cluster.scenario.speculative import DraftCards, Speculative
from topology.catalog import Hardware
from topology.mixed import MixedHardware
from workloads.model import Model
from workloads.plan import Plan, check_plan

if TYPE_CHECKING:
    from cluster.scenario.resolve import Openers, Resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A draft model on the cards of the last stage, or on others."""

    model: Model
    hardware: Hardware
    formats: Formats
    plan: Plan
    """One stage; replicas as many as the model's."""
    layer_of: Model | None = None
    """The model of which it is one layer more, and shares the embedding and the head."""
    cards: range | None = None
    """Of the map, those that drafts have for themselves; None: the last stage's."""


def drafted(whole: "Resolved", openers: "Openers") -> "Resolved":
    """The run with its draft model, which may take some of its cards.

    Raises
    ------
    ScenarioError
        A plan that the draft has no part in, or too few cards.
    """
    speculative = whole.scenario.speculative
    if speculative is None or speculative.method == "ngram":
        return whole
    own = speculative.draft_on
    if own is None:
        return replace(whole, draft=_beside(whole, speculative, openers))
    model = openers.model(speculative.model or "")
    _check_vocabulary(model, whole.model)
    hardware, formats = _other(whole, own, openers)
    mixed = hardware is not whole.hardware
    replicas, free = _replicas(whole, own, mixed=mixed)
    size = speculative.draft_tensor_parallel_size or own.cards
    if size != own.cards:
        raise ScenarioError(
            f"speculative.draft_tensor_parallel_size is {size}, and a draft has "
            f"speculative.draft_on.cards {own.cards}: they must be equal"
        )
    plan = Plan(tensor_parallel_size=size, replicas=replicas)
    check_plan(plan, model)
    draft = Draft(
        model=model,
        hardware=hardware,
        formats=formats,
        plan=plan,
        cards=range(free, free + replicas * own.cards),
    )
    per_server = whole.scenario.cluster.cards_per_server
    return replace(
        whole,
        plan=replace(whole.plan, replicas=replicas),
        cards=range(free),
        mixed=MixedHardware(first=whole.hardware, second=hardware, first_servers=free // per_server)
        if mixed
        else None,
        draft=draft,
    )


def content_of(draft: Draft, content: Callable[..., object]) -> list[object]:
    """What the identity of a run has of it."""
    return [content(draft.model), content(draft.hardware), formats_text(draft.formats)]


def _beside(whole: "Resolved", speculative: Speculative, openers: "Openers") -> Draft:
    """On the cards of the last stage, with its tensor parallelism, as vLLM demands."""
    plan = replace(whole.plan, pipeline_parallel_size=1)
    wanted = speculative.draft_tensor_parallel_size or plan.tensor_parallel_size
    if wanted != plan.tensor_parallel_size:
        raise ScenarioError(
            f"speculative.draft_tensor_parallel_size is {wanted}, and plan.tensor_parallel_size "
            f"{plan.tensor_parallel_size}: on the same cards they must be equal, as in vLLM; or "
            "set speculative.draft_on"
        )
    if speculative.model is not None:
        model, layer_of = openers.model(speculative.model), None
        _check_vocabulary(model, whole.model)
        plan = replace(plan, expert_parallel_size=1)
    else:
        layer_of = whole.model
        name = f"{whole.model.name} {speculative.method}"
        model = replace(whole.model, name=name, layers=whole.model.layers[-1:])
    check_plan(plan, model)
    return Draft(
        model=model, hardware=whole.hardware, formats=whole.formats, plan=plan, layer_of=layer_of
    )


def _check_vocabulary(draft: Model, model: Model) -> None:
    """Refuse drafts whose tokens are not the model's, as vLLM does."""
    if draft.vocab != model.vocab:
        raise ScenarioError(
            f"speculative.model: {draft.name} has {draft.vocab:,} tokens, {model.name} "
            f"{model.vocab:,}; a draft model has the vocabulary of the model"
        )


def _other(whole: "Resolved", own: DraftCards, openers: "Openers") -> tuple[Hardware, Formats]:
    """Hardware and formats of drafts on cards of their own."""
    if own.hardware is None or own.hardware == whole.scenario.hardware:
        return whole.hardware, whole.formats
    scenario: Scenario = whole.scenario.model_copy(
        update={"hardware": own.hardware, "hardware_set": {}, "formats": FormatNames()}
    )
    hardware = own_hardware(scenario, openers.hardware)
    if content_text(hardware) == content_text(whole.hardware):
        return whole.hardware, whole.formats
    return hardware, formats_of(with_formats(scenario, hardware).formats)


def _replicas(whole: "Resolved", own: DraftCards, *, mixed: bool) -> tuple[int, int]:
    """Replicas, and the first card of drafts: at the end of the cluster, or of other servers."""
    size, settings = whole.scenario.cluster, whole.scenario.plan
    total = size.racks * size.servers_per_rack * size.cards_per_server
    each = whole.plan.tensor_parallel_size * whole.plan.pipeline_parallel_size

    def first(replicas: int) -> int:
        taken = replicas * own.cards
        if mixed:  # a server has cards of one kind
            taken = -(-taken // size.cards_per_server) * size.cards_per_server
        return total - taken

    wanted = whole.plan.replicas
    if isinstance(settings, PlanSettings) and settings.replicas == "auto":
        while wanted > 1 and wanted * each > first(wanted):
            wanted -= 1
    if wanted * each > first(wanted):
        raise ScenarioError(
            f"speculative.draft_on: {wanted} x {each} cards of the model and {wanted} x "
            f"{own.cards} of drafts{' in servers of their own' if mixed else ''} are more than "
            f"the {total} cards of the cluster"
        )
    return wanted, first(wanted)
