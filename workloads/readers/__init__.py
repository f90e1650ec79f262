"""How others write request traces: one small module per format, and the two ways to read text."""
