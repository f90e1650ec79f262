"""Readers of Hugging Face configs: one small module per family."""
