"""Decoding and inflating alone, on the same chunks, on one thread: kernels against others."""

from __future__ import annotations

import zlib

import deflate
import numpy as np

from bench.measure import Side, compare, time_pairs
from bench.ours import FlatOutput, kernel_decode, stored_chunks_of
from bench.rows import Setup, as_row, failure

__all__ = ["decode_row", "decode_rows", "decode_side"]

_CHUNKS = 64


def decode_rows(setup: Setup, failures: list[dict], say) -> list[dict]:
    """Ours against compressed-segmentation and neuroglancer-scripts; libdeflate against zlib."""
    vol = setup.vol
    chunks = stored_chunks_of(vol, setup.region)
    step = max(1, len(chunks.stored) // _CHUNKS)
    stored = chunks.stored[::step]
    shapes = chunks.cell_shapes[::step]
    encoded = [chunks.inflate(data).tobytes() for data in stored]
    work = {"chunks": len(stored), "voxels": int(sum(np.prod(shape) for shape in shapes))}
    rows = []
    if vol.scale.encoding == "compressed_segmentation" and vol.num_channels == 1:
        ours = decode_side("shardreader", encoded, shapes, _our_decode(vol))
        for name, make in (
            ("compressed-segmentation", _compressed_segmentation),
            ("neuroglancer-scripts", _neuroglancer_scripts),
        ):
            if name not in setup.peers:
                continue
            say(f"decode against {name}")
            other = decode_side(name, encoded, shapes, make(vol, chunks.block_size))
            try:
                rows.append(
                    decode_row(setup, "decode", "decode alone, one thread", ours, other, work)
                )
            except Exception as error:  # noqa: BLE001 (whatever a peer raises is its own)
                failures.append(failure("decode alone", name, error))
    if chunks.encoding == "gzip" and {"zlib", "libdeflate"} <= set(setup.peers):
        say("libdeflate against zlib")
        sizes = [len(data) for data in encoded]
        ours = _inflate_side("libdeflate", stored, sizes, deflate.gzip_decompress)
        other = _inflate_side("zlib", stored, sizes, lambda data, _: zlib.decompress(data, 31))
        work = {
            "chunks": len(stored),
            "stored_bytes": sum(map(len, stored)),
            "encoded_bytes": sum(sizes),
        }
        rows.append(
            decode_row(
                setup, "inflate", "inflate alone (libdeflate), one thread", ours, other, work
            )
        )
    return rows


def decode_row(setup, name, title, ours, other, work) -> dict:
    """The row of two sides that work on bytes in memory, on one thread."""
    same = compare(ours, other, 1)
    pairs = time_pairs(ours, other, setup.runs)
    return as_row(
        name,
        title,
        other.name,
        pairs,
        kind="peer",
        state="bytes in memory",
        equal=same,
        settings={"threads": 1},
        full_size=True,
        work=work,
    )


def decode_side(name, encoded, shapes, decode) -> Side:
    """Decode chunks one after the other by `decode`, which gets the bytes and the shape."""

    def run(_):
        for data, shape in zip(encoded, shapes, strict=True):
            decode(data, shape)

    def array(_result, _state):
        return np.concatenate(
            [
                np.array(decode(data, shape)).reshape(-1, order="F")
                for data, shape in zip(encoded, shapes, strict=True)
            ]
        )

    return Side(name, lambda number: number, run, array)


def _our_decode(vol):
    # One chunk's array is used again and again; the others make their own, as their users get it.
    made: dict[tuple, np.ndarray] = {}

    def decode(data, shape):
        out = made.setdefault(shape, np.zeros(shape, vol.dtype, order="F"))
        kernel_decode(vol, data, shape, FlatOutput(out))
        return out

    return decode


def _compressed_segmentation(vol, block_size):
    import compressed_segmentation

    def decode(data, shape):
        return compressed_segmentation.decompress(
            data, (*shape, 1), vol.dtype, block_size=block_size, order="F"
        )

    return decode


def _neuroglancer_scripts(vol, block_size):
    from neuroglancer_scripts.chunk_encoding import CompressedSegmentationEncoder

    encoder = CompressedSegmentationEncoder(vol.dtype.name, 1, block_size)

    def decode(data, shape):
        return encoder.decode(data, shape)[0].transpose(2, 1, 0)

    return decode


def _inflate_side(name, stored, sizes, inflate) -> Side:
    def run(_):
        for data, size in zip(stored, sizes, strict=True):
            inflate(data, size)

    def array(_result, _state):
        return np.frombuffer(
            b"".join(bytes(inflate(d, s)) for d, s in zip(stored, sizes, strict=True)), np.uint8
        )

    return Side(name, lambda number: number, run, array)
