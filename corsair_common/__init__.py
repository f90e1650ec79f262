"""What every package shares: units, array types, names that two packages use, atomic files."""
