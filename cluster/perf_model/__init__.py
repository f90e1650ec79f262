"""What the machine costs: arrays in, arrays out; no time, no files."""
