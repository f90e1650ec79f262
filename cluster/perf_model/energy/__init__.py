"""Energy: counted events, joules per event, and card power as a function of the clock."""
