"""``python -m cluster`` is ``corsair-sim``."""

from cluster.commands.app import main
from corsair_common.leave import leave

leave(main())
