"""``python -m cluster`` is ``corsair-sim``."""

import sys

from cluster.commands.app import main

sys.exit(main())
