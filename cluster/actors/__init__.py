"""Cards as Ray actors: the one room that imports ray. What they compute is cluster.perf_model's."""
