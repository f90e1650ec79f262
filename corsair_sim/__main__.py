"""``python -m corsair_sim`` is ``corsair-sim``."""

import sys

from corsair_sim.cli import main

sys.exit(main())
