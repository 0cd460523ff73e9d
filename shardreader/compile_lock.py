"""One lock around every import of numba and every compilation. Floor 0.

A fork waits for it, because numba's own locks would stay locked for ever in a child that was
forked while another thread compiled.
"""

from __future__ import annotations

import os
import threading

__all__ = ["compiling"]

compiling = threading.Lock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=compiling.acquire,
        after_in_parent=compiling.release,
        after_in_child=compiling.release,
    )
