"""One byte budget for what was read: indices and encoded chunks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

__all__ = ["ByteCache"]

# What Python itself needs for an entry: key, node, object headers.
_ENTRY_OVERHEAD = 400


class ByteCache:
    """Least-recently-used entries within a byte budget; safe from many threads.

    Examples
    --------
    >>> cache = ByteCache(1000)
    >>> cache.put("a", b"x" * 100, 100)
    >>> cache.get("a") is not None, cache.get("b") is None
    (True, True)
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.used_bytes = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any | None:
        """The entry, now the most recently used; None where there is none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keep `value`, which takes `nbytes`; one larger than the whole budget is not kept."""
        cost = nbytes + _ENTRY_OVERHEAD
        if cost > self.most_bytes:
            return
        with self._lock:
            old = self._entries.pop(key, None)
            if old is not None:
                self.used_bytes -= old[1]
            self._entries[key] = (value, cost)
            self.used_bytes += cost
            while self.used_bytes > self.most_bytes:
                _, (_, freed) = self._entries.popitem(last=False)
                self.used_bytes -= freed
