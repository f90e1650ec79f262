"""The operation-trace engine: programs of ranks over a fabric that they share."""
