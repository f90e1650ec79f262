"""The request-trace engine: a compiled kernel and the readable reference beside it."""
