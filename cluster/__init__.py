"""The machine in motion: the trunk, the only room that imports the others."""
