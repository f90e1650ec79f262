"""``@compiled`` functions: numba makes their machine code once, LLVM alone loads it later.

``cache`` names the files, ``loader`` links and calls what is in them, and ``compiler``, the only
module that imports numba, is imported where a file is missing (docs/decisions/0048).
"""

from cluster.compiled.cache import announced
from cluster.compiled.kernel import called, compiled, inlined, prepared

__all__ = ["announced", "called", "compiled", "inlined", "prepared"]
