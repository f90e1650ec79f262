"""What a user asked for: the scenario file, checked, resolved and named."""
