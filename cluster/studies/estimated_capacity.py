"""The capacity of a scenario by the estimator, with other figures of its hardware."""

from collections.abc import Mapping

from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Scenario
from cluster.serving.run import lay_out
from cluster.studies.plan.estimate import estimate
from cluster.studies.sweep.input_cache import Library


def capacity_per_s(
    scenario: Scenario, figures: Mapping[str, float], library: Library
) -> float | None:
    """Requests a second that the scenario's cluster can serve with these figures.

    Of pools, that of the slower one; None where the estimator knows none.
    """
    changed = scenario.model_copy(update={"hardware_set": {**scenario.hardware_set, **figures}})
    resolved = resolve(changed, library.openers)
    pools = (resolved,) if resolved.pools is None else resolved.pools
    found = [estimate(pool, lay_out(pool)).capacity_per_s for pool in pools]
    known = [each for each in found if each is not None]
    return min(known) if len(known) == len(found) else None
