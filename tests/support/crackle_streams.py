"""Crackle streams taken apart and put together again, by the format's README and nothing else."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
from google_crc32c import value as crc32c


def crc8(data: bytes) -> int:
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xE7 if crc & 1 else 0)
    return crc


@dataclass(frozen=True)
class Parts:
    """The parts of a stream; `fields` are the 15 bytes of the header from the format field on."""

    fields: bytes
    index: bytes
    labels: bytes
    codes: bytes  # with the Markov model before them
    slice_crcs: bytes

    def version_1(self) -> bytes:
        """Give the stream with checksums that hold, but for those of the slices."""
        header = self.fields + len(self.labels).to_bytes(8, "little")
        return b"".join(
            [
                b"crkl\x01",
                header,
                bytes([crc8(header)]),
                self.index,
                crc32c(self.index).to_bytes(4, "little"),
                self.labels,
                self.codes,
                crc32c(self.labels).to_bytes(4, "little"),
                self.slice_crcs,
            ]
        )

    def version_0(self) -> bytes:
        """Give the stream in the version that has no checksums."""
        header = self.fields + len(self.labels).to_bytes(4, "little")
        return b"".join([b"crkl\x00", header, self.index, self.labels, self.codes])


def take_apart(stream: bytes) -> Parts:
    """Take a sound stream of version 1 apart."""
    fields = stream[5:20]
    slices = int.from_bytes(stream[15:19], "little")
    labels_at = 29 + 4 * slices + 4
    codes_at = labels_at + int.from_bytes(stream[20:28], "little")
    end = len(stream) - 4 * (slices + 1)
    return Parts(
        fields,
        stream[29 : labels_at - 4],
        stream[labels_at:codes_at],
        stream[codes_at:end],
        stream[end + 4 :],
    )


def blobs(shape: tuple[int, int, int], dtype: str, seed: int, count: int) -> np.ndarray:
    """Give touching blobs, some of the same label, so that one label has several components."""
    rng = np.random.default_rng(seed)
    at = np.indices(shape).reshape(3, -1).T
    centres = rng.random((count, 3)) * shape
    nearest = ((at[:, np.newaxis] - centres) ** 2).sum(axis=2).argmin(axis=1)
    labels = rng.integers(np.iinfo(dtype).max, size=max(1, count // 2), dtype=dtype, endpoint=True)
    return np.asfortranarray(labels[nearest % len(labels)].reshape(shape))


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Change one to four places: bits, bytes, runs, extreme numbers, cuts and insertions."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not changed:
            break
        at = rng.randrange(len(changed))
        kind = rng.randrange(8)
        if kind < 3:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind < 5:
            changed[at] = rng.choice([0, 1, 127, 128, 254, 255, rng.randrange(256)])
        elif kind == 5:
            width = rng.choice([2, 4, 8])
            changed[at : at + width] = rng.choice([b"\0", b"\xff", b"\x7f"]) * width
            del changed[len(data) :]
        elif kind == 6:
            del changed[at : at + rng.choice([1, 1, 4, len(changed)])]
        else:
            changed[at:at] = rng.randbytes(rng.choice([1, 1, 4, 40]))
    return bytes(changed)


def mutated_inside(parts: Parts, rng: random.Random) -> bytes:
    """Change one part, and give a stream whose checksums hold or that has none."""
    name = rng.choice(["fields", "index", "labels", "labels", "codes", "codes", "codes"])
    part = mutated(getattr(parts, name), rng)
    if name == "fields":
        part = part[:15].ljust(15, b"\0")
    changed = replace(parts, **{name: part})
    if name == "codes" and rng.random() < 0.5:
        # The index says so too: the slice that was changed is decoded to the end.
        sizes = np.frombuffer(parts.index, "<u4").astype(np.int64)
        sizes[rng.randrange(len(sizes))] += len(part) - len(parts.codes)
        changed = replace(changed, index=(sizes % 2**32).astype("<u4").tobytes())
    return changed.version_0() if rng.random() < 0.75 else changed.version_1()
