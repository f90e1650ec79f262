"""The request-trace engine: a compiled kernel, and a readable reference implementation."""
