# A package of corsair-sim (corsair_sim/import_check.py looks for this line).
"""The map: which hardware there is and how it is joined. No time passes here."""
