"""What was decoded once is kept, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Generic, Hashable, TypeVar

V = TypeVar("V")


class ByteCache(Generic[V]):
    """Values by key, the least recently used dropped first; safe among threads.

    A copy in another process (a data loader's worker that is spawned) begins empty with the same limit.

    Args:
        limit: bytes that all values together may take; 0 keeps nothing.

    Attributes:
        used: bytes that they take now.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> V | None:
        """The value, or None if it is not kept."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Keeps a value of ``size`` bytes, unless it is larger than the limit by itself."""
        if size > self.limit:
            return
        with self._lock:
            if key in self._values:
                self.used -= self._values.pop(key)[1]
            self._values[key] = value, size
            self.used += size
            while self.used > self.limit:
                self.used -= self._values.popitem(last=False)[1][1]

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["limit"])  # type: ignore[misc]
