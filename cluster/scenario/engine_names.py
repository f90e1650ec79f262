"""The names of engines: where a run is carried out."""

from typing import Literal, TypeAlias, get_args

EngineName: TypeAlias = Literal["local", "ray"]
CardsPerActor: TypeAlias = int | Literal["auto"]

ENGINES: tuple[EngineName, ...] = get_args(EngineName)
