"""``python -m corsair_sim`` is ``corsair-sim``."""

from corsair_sim.cli import command

command()
