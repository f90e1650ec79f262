"""How both API functions choose the engine."""

from typing import Any

import pytest

from cluster import replay_trace, simulate
from cluster.api.run_output import EngineNameError

REPLAYED = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {"program": {"phase": "decode", "batch": 1, "context": 16, "steps": 1}},
}


@pytest.mark.parametrize(("function", "scenario"), [(simulate, None), (replay_trace, REPLAYED)])
def test_an_engine_that_there_is_not_is_refused_and_the_others_are_named(
    function: Any, scenario: Any
) -> None:
    with pytest.raises(EngineNameError, match="engine: 'dask' is none of local, ray") as caught:
        function(scenario, engine="dask")

    assert caught.value.exit_code == 2
