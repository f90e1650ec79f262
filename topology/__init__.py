"""The map: which hardware there is and how it is joined. No time passes here."""
