"""The performance model: costs of operations as arrays; no simulated time, no files."""
