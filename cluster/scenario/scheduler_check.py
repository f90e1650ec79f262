"""Checks of the scheduler against the plan."""

from cluster.scenario.load import ScenarioError
from cluster.scenario.schema import Scheduler
from workloads.plan import Plan


def check_scheduler(scheduler: Scheduler, plan: Plan) -> None:
    """Refuse a scheduler that the plan does not support."""
    stages = plan.pipeline_parallel_size
    if scheduler.async_scheduling and stages > 1:
        raise ScenarioError(
            "scheduler.async_scheduling needs one pipeline stage, and "
            f"plan.pipeline_parallel_size is {stages}: with several stages as many batches are in "
            "flight as it is, so set it to false"
        )
