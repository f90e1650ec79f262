"""The compiled loop of two pools and the transfers between them."""
