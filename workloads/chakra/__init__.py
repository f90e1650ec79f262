"""MLCommons Chakra execution traces: folders of NAME.<rank>.et in and out (docs/chakra.md)."""
