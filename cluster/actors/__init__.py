"""Cards as Ray actors. This is the only package that imports ray; it computes with
cluster.perf_model."""
