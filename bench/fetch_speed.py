"""How fast `fetch` is on loopback, against obstore that streams the same objects to disk.

    python bench/fetch_speed.py [--shards 4] [--megabytes 120] [--jobs 4]

Needs nginx and the extra [fetch]. The shards have FAFB-FFN1's geometry and random chunks.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import google_crc32c
import numpy as np
import obstore
from obstore.store import HTTPStore

from shardreader.copies.gsutil_listing import ListedObject
from shardreader.fetching import fetch
from shardreader.fetching.source_listing import ScaleListing, SourceReader

INFO = Path(__file__).resolve().parent.parent / "fixtures/fafb-mini/info"
KEY = "8.0x8.0x40.0"
MINISHARDS, CHUNKS, PRESHIFT = 64, 32, 9


def write_shard(path: Path, number: int, size: int) -> None:
    """Write a shard of random chunks, as sound as `verify --level quick` wants it."""
    rng = np.random.default_rng(number)
    chunk = size // (MINISHARDS * CHUNKS)
    index = np.zeros((MINISHARDS, 2), "<u8")
    with path.open("wb") as file:
        file.seek(index.nbytes)
        position = 0
        for minishard in range(MINISHARDS):
            file.write(rng.bytes(chunk * CHUNKS))
            table = np.zeros((3, CHUNKS), "<u8")
            table[0] = 1
            table[0, 0] = (number << 6 | minishard) << PRESHIFT
            table[1, 0] = position
            table[2] = chunk
            position += chunk * CHUNKS
            encoded = gzip.compress(table.tobytes(), mtime=0)
            file.write(encoded)
            index[minishard] = position, position + len(encoded)
            position += len(encoded)
        file.seek(0)
        file.write(index.tobytes())


def raw(url: str, names: list[str], out: Path, jobs: int, *, sync: bool) -> float:
    """Seconds that obstore alone takes."""
    out.mkdir()
    store = HTTPStore(url, client_options={"allow_http": True, "timeout": "120s"})
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)

    def work() -> None:
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            with (out / name.rsplit("/", 1)[-1]).open("wb", buffering=0) as file:
                for part in obstore.get(store, name).stream(min_chunk_size=1 << 20):
                    file.write(part)
                if sync:
                    os.fsync(file.fileno())

    return timed(lambda: together(work, jobs))


def together(work, jobs: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def timed(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def serve(folder: Path, root: Path, port: int) -> subprocess.Popen[bytes]:
    temporary = " ".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; sendfile on; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    )
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    server = subprocess.Popen([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    time.sleep(1)
    return server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=120)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=18766)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    source = folder / "source"
    (source / KEY).mkdir(parents=True)
    (source / "info").write_bytes(INFO.read_bytes())
    names = [f"{KEY}/{number:04x}.shard" for number in range(arguments.shards)]
    for number, name in enumerate(names):
        write_shard(source / name, number, arguments.megabytes * 1_000_000)
    sizes = {name.rsplit("/", 1)[-1]: (source / name).stat().st_size for name in names}
    files = {}
    for name, size in sizes.items():
        crc32c = google_crc32c.Checksum((source / KEY / name).read_bytes()).digest()
        files[name] = ListedObject("", size, crc32c=base64.b64encode(crc32c).decode())
    listing = ScaleListing(files, (), 1)
    # nginx cannot be listed; 3,689 questions would be measured instead of bytes.
    SourceReader.listing = lambda *_: listing  # type: ignore[method-assign]
    url = f"http://127.0.0.1:{arguments.port}"
    server = serve(folder, source, arguments.port)
    megabytes = sum(sizes.values()) / 1e6
    try:
        for _ in range(arguments.rounds):
            alone = []
            for sync in (True, False):
                alone.append(raw(url, names, folder / "raw", arguments.jobs, sync=sync))
                shutil.rmtree(folder / "raw")
            ours = timed(lambda: fetch(url, folder / "copy", jobs=arguments.jobs))
            shutil.rmtree(folder / "copy")
            for what, seconds in zip(("synced", "not synced"), alone, strict=True):
                print(
                    f"obstore ({what}) {megabytes / seconds:,.0f} MB/s, "
                    f"fetch {megabytes / ours:,.0f} MB/s, ratio {seconds / ours:.2f}",
                    flush=True,
                )
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
