"""How often a client has to wait for a server: it holds all requests until no more come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fault_server import FaultServer, Request

from shardreader import Volume

# A client that has something else to ask does so within this time, on a busy machine too.
QUIET_SECONDS = 0.4


class Rounds:
    """Lets requests through in rounds.

    Attributes
    ----------
    sizes : list of int
        Requests of each round so far.
    """

    def __init__(self, sent: Callable[[], int]) -> None:
        self._sent = sent
        self.sizes: list[int] = []
        self._waiting: list[threading.Event] = []
        self._last = 0.0
        self._arrived = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def hold(self, _: Request) -> None:
        """Keep a request until its round is over."""
        gate = threading.Event()
        with self._lock:
            self._waiting.append(gate)
            self._arrived += 1
            self._last = time.monotonic()
        gate.wait(60)

    def work(self) -> None:
        """End rounds until the end."""
        while not self._ended.wait(0.02):
            with self._lock:
                is_quiet = time.monotonic() - self._last > QUIET_SECONDS
                if not self._waiting or not is_quiet or self._sent() > self._arrived:
                    continue
                gates, self._waiting = self._waiting, []
                self.sizes.append(len(gates))
            for gate in gates:
                gate.set()

    def end(self) -> None:
        """Let everything through."""
        self._ended.set()
        with self._lock:
            for gate in self._waiting:
                gate.set()


@contextmanager
def counted_rounds(server: FaultServer, vol: Volume) -> Iterator[Rounds]:
    """Count the rounds in which a volume waits inside of the block."""
    remote = vol._store.remote  # type: ignore[attr-defined]
    first = remote.requests
    rounds = Rounds(lambda: remote.requests - first)
    worker = threading.Thread(target=rounds.work, daemon=True)
    before, server.before = server.before, rounds.hold
    worker.start()
    try:
        yield rounds
    finally:
        server.before = before
        rounds.end()
        worker.join()
