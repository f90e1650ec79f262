"""Plan search: every legal placement of a model on a cluster, scored from prices alone."""
