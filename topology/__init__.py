# A package of corsair-sim (corsair_sim/import_check.py looks for this line).
"""The hardware graph: components and links. No simulated time."""
