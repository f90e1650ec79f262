"""Options of a run: output folder and engine, the same for all commands that can use Ray."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypedDict

import typer

from cluster.commands import terminal
from cluster.scenario import engine_names
from cluster.scenario.engine_names import EngineName


class Engine(StrEnum):
    """``engine_names.ENGINES`` as an option: mypy wants the members of enums spelt."""

    local = "local"
    ray = "ray"


EngineOption = Annotated[
    Engine, typer.Option("--engine", help="Where it runs; the results are the same.")
]
EngineOfPoints = Annotated[
    Engine, typer.Option("--engine", help="Where points run; the results are the same.")
]
CardsPerActor = Annotated[
    str, typer.Option(help="Cards that one Ray actor hosts.", metavar="auto|N")
]
RunsFolder = Annotated[
    Path, typer.Option("--out", help="Folder of runs; each run has a folder named by its run_id.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Join this Ray (auto: the one running here) instead of starting one.",
        metavar="auto|HOST:PORT",
    ),
]


class CarriedOut(TypedDict):
    """The same, as the Python API's type."""

    engine: EngineName
    cards_per_actor: engine_names.CardsPerActor
    ray_address: str | None


def checked(engine: Engine, cards_per_actor: str, ray_address: str | None) -> CarriedOut:
    """Take the options together.

    Raises
    ------
    typer.BadParameter
        They are inconsistent, or not numbers where numbers are needed.
    """
    if engine is Engine.local and (ray_address is not None or cards_per_actor != "auto"):
        raise typer.BadParameter("--ray-address and --cards-per-actor need --engine ray")
    return CarriedOut(
        engine="ray" if engine is Engine.ray else "local",
        cards_per_actor=_number(cards_per_actor),
        ray_address=ray_address,
    )


class EngineOnly(TypedDict):
    """The engine of a sweep's points, as the Python API's type."""

    engine: EngineName
    ray_address: str | None


def engine_of_points(engine: Engine, ray_address: str | None) -> EngineOnly:
    """Take the options of a sweep together.

    Raises
    ------
    typer.BadParameter
        An address without Ray.
    """
    if engine is Engine.local and ray_address is not None:
        raise typer.BadParameter("--ray-address needs --engine ray")
    return EngineOnly(engine="ray" if engine is Engine.ray else "local", ray_address=ray_address)


def notice(*, quiet: bool) -> Callable[[str], None]:
    """Reporter of progress on Ray."""
    return _silent if quiet else terminal.note


def _number(cards_per_actor: str) -> engine_names.CardsPerActor:
    if cards_per_actor == "auto":
        return "auto"
    if not cards_per_actor.isdecimal() or int(cards_per_actor) < 1:
        raise typer.BadParameter(
            f"--cards-per-actor is auto or a number of at least 1, got {cards_per_actor!r}"
        )
    return int(cards_per_actor)


def _silent(text: str) -> None:
    """Report nothing."""
    del text
