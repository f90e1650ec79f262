# A package of corsair-sim (corsair_sim/import_check.py looks for this line).
"""Workloads: models, requests and operations, independent of hardware."""
