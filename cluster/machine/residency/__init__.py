"""Which weights lie in SRAM and which in LPDDR: values in ``places``, the choice in ``choose``."""
