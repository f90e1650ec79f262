"""The ledger: what a run leaves behind, and how to read it again."""
