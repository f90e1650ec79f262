"""The names of routers, in the order of the engines' codes."""

from typing import Literal, TypeAlias, get_args

Router: TypeAlias = Literal["round_robin", "random", "least_outstanding", "least_kv", "vllm_dp"]

ROUTERS: tuple[str, ...] = get_args(Router)
