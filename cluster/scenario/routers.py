"""The names of routers: what a scenario may choose is what the engines know, in their order."""

from typing import Literal, TypeAlias, get_args

Router: TypeAlias = Literal["round_robin", "random", "least_outstanding", "least_kv", "vllm_dp"]

ROUTERS: tuple[str, ...] = get_args(Router)
