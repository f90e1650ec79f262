"""Readers of public request trace formats: one small module per format, and two text readers."""
