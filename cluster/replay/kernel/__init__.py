"""The compiled engine: plain functions over structured arrays, resumable after any event."""
