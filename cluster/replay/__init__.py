"""The operation-trace engine: programs of ranks over a shared fabric."""
