"""The scoreboard of real machines: each measured point beside what is simulated for it."""

from cluster.studies.scoreboard.board import Board, scoreboard
from cluster.studies.scoreboard.point import Point, ScoreError
from cluster.studies.scoreboard.points import points_of

__all__ = ["Board", "Point", "ScoreError", "points_of", "scoreboard"]
