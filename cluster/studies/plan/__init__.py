"""Plans: every legal way to lay a model on a cluster, scored from prices alone."""
