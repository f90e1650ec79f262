"""The traffic: what is asked of the machine, naming no machine."""
