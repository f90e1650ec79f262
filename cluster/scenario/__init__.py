"""The scenario: loaded, checked, resolved, identified."""
