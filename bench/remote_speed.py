"""How fast remote reads are with latency, against tensorstore over the same server.

    python bench/remote_speed.py [--latency 50] [--rounds 3] [--data ../shared/data/pinky40]

The server waits for the latency before each answer, on 127.0.0.1, and has no other limit. Each
read opens the volume anew; the processes have been used before, so that nothing is compiled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

import shardreader
from shardreader import Box

_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d+)", re.IGNORECASE)


async def _serve(root: Path, latency: float, told: Connection) -> None:
    requests = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                requests += 1
                await asyncio.sleep(latency)
                method, path, _ = head.split(b"\r\n", 1)[0].split(b" ")
                if path == b"/requests":
                    body = str(requests).encode()
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                    )
                    continue
                writer.write(_reply(root / path.decode().lstrip("/"), method, head))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
    told.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _reply(path: Path, method: bytes, head: bytes) -> bytes:
    try:
        size = os.stat(path).st_size
    except OSError:
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    lines = [b'ETag: "%d"' % size, b"Last-Modified: Sun, 12 Apr 2020 10:00:00 GMT"]
    start, end, status = 0, size, b"200 OK"
    wanted = _RANGE.search(head)
    if wanted:
        start, end = int(wanted[1]), min(int(wanted[2]) + 1, size)
        status = b"206 Partial Content"
        lines.append(b"Content-Range: bytes %d-%d/%d" % (start, end - 1, size))
    body = b""
    if method != b"HEAD":
        with path.open("rb") as file:
            body = os.pread(file.fileno(), end - start, start)
    lines.append(b"Content-Length: %d" % (end - start))
    return b"HTTP/1.1 " + status + b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + body


def _server(root: Path, latency: float, told: Connection) -> None:
    asyncio.run(_serve(root, latency, told))


def _tensorstore(url: str, concurrency: int | None) -> Any:
    context: dict[str, Any] = {"cache_pool": {"total_bytes_limit": 512 << 20}}
    if concurrency is not None:
        context["http_request_concurrency"] = {"limit": concurrency}
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "http", "base_url": f"{url}/"},
    }
    return ts.open(spec, context=ts.Context(context), read=True).result()[..., 0]


def _around(corner: Any, reach: tuple[int, int, int]) -> tuple[Any, Any]:
    return corner - np.array(reach), corner + np.array(reach)


def _medians(
    actions: list[Callable[[], Any]], rounds: int
) -> tuple[list[float], list[float], list[Any]]:
    """Seconds, seconds of this process's cores, and results; in turns, so that all see the same."""
    seconds: list[list[float]] = [[] for _ in actions]
    busy: list[list[float]] = [[] for _ in actions]
    results: list[Any] = [None] * len(actions)
    for _ in range(rounds):
        for at, action in enumerate(actions):
            start, start_busy = time.perf_counter(), time.process_time()
            results[at] = action()
            seconds[at].append(time.perf_counter() - start)
            busy[at].append(time.process_time() - start_busy)
    return [statistics.median(s) for s in seconds], [statistics.median(b) for b in busy], results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=50, help="milliseconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pinky40"))
    arguments = parser.parse_args()
    root = (arguments.data / "segmentation").resolve()
    origin = np.array(json.loads((arguments.data / "truth.json").read_text())["origin"])
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    server = spawn.Process(
        target=_server, args=(root, arguments.latency / 1000, there), daemon=True
    )
    server.start()
    url = f"http://127.0.0.1:{here.recv()}"
    points = origin + np.random.default_rng(0).integers(0, (1024, 1024, 256), (1000, 3))
    corner = origin + np.array((512, 512, 128))
    boxes = {
        "box over eight shards, 256 x 256 x 64": _around(corner, (128, 128, 32)),
        "box over eight shards, 512 x 512 x 128": _around(corner, (256, 256, 64)),
        "slice, 1024 x 1024 x 1": (origin, origin + np.array((1024, 1024, 1))),
    }

    def ours(read: Callable[[Any], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with shardreader.open_volume(url) as vol:
                return read(vol)

        return run

    rows: list[tuple[str, Callable[[], Any], Callable[[int | None], Any]]] = [
        (
            "1,000 scattered points",
            ours(lambda vol: vol.lookup(points, units="voxel")),
            lambda limit: _tensorstore(url, limit)[tuple(points.T)].read().result(),
        )
    ]
    for name, (lower, upper) in boxes.items():
        where = tuple(slice(a, b) for a, b in zip(lower.tolist(), upper.tolist(), strict=True))
        box = Box(tuple(lower.tolist()), tuple(upper.tolist()))
        rows.append(
            (
                name,
                ours(lambda vol, box=box: vol.cutout(box)),
                lambda limit, where=where: _tensorstore(url, limit)[where].read(order="F").result(),
            )
        )
    with shardreader.open_volume(root, missing="zero") as local:  # compile, outside of the times
        local.lookup(points, units="voxel")
        local.cutout(Box(tuple(origin.tolist()), tuple((origin + 64).tolist())))
    print(f"latency {arguments.latency:g} ms; seconds, median of {arguments.rounds}")
    for name, read, peer in rows:
        seconds, busy, results = _medians(
            [read, partial(peer, None), partial(peer, 512)], arguments.rounds
        )
        if not all(np.array_equal(results[0], result) for result in results[1:]):
            raise SystemExit(f"{name}: the answers differ")
        whose = ("shardreader", "tensorstore, its own number of requests", "tensorstore, 512")
        print(name)
        for who, wall, cores in zip(whose, seconds, busy, strict=True):
            ratio = f"{wall / seconds[0]:.1f} times shardreader's"
            print(f"  {wall:5.2f} s, {cores:5.2f} s of cores, {ratio:26} {who}", flush=True)
    server.terminate()


if __name__ == "__main__":
    main()
