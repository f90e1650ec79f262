"""The command line: one small lazy module per command."""
