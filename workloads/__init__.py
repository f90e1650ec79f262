# A package of corsair-sim (corsair_sim/import_check.py looks for this line).
"""The traffic: what is asked of the machine, naming no machine."""
