"""A card of DIMC chiplets (``kind: dimc_card``)."""
