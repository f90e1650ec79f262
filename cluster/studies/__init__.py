"""Questions that take many runs, or set a run beside something that is known."""
