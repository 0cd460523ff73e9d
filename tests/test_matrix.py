"""Random volumes over everything that an `info` can say: all ways of reading give the source."""

from __future__ import annotations

import gzip
import json
import tempfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from murmurhash_oracle import hash_by_mmh3
from shard_builder import Shard, encode
from ways import change_core

from shardreader import Box, PointStatus, Volume, open_volume
from shardreader.format.sharding import ShardingSpec

QUICK = settings(
    max_examples=45,
    deadline=None,
    derandomize=True,
    # A failing example is small enough to read, and shrinking it takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
MANY = settings(QUICK, max_examples=700)
MOST_CHUNKS = 60
KEY = "k"
RAW_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")
HASHES = ("identity", "murmurhash3_x86_128")
STORED = ("raw", "gzip", "zstd")
SUFFIXES = {"raw": "", "gzip": ".gz", "zstd": ".zstd"}

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Form:
    """One volume of the matrix; `sharding` is None for one file a chunk."""

    size: Triple
    chunk_size: Triple
    voxel_offset: Triple
    data_type: str
    channels: int
    block_size: Triple | None
    sharding: dict[str, Any] | None
    index_encoding: str
    data_encoding: str

    @property
    def upper(self) -> Triple:
        x, y, z = (o + n for o, n in zip(self.voxel_offset, self.size, strict=True))
        return x, y, z

    def metadata(self) -> dict[str, Any]:
        """Give what tensorstore writes: all but zstd and compressed files, which it cannot."""
        scale: dict[str, Any] = {
            "key": KEY,
            "size": self.size,
            "chunk_size": self.chunk_size,
            "voxel_offset": self.voxel_offset,
            "resolution": [4, 4, 40],
            "encoding": "raw",
        }
        if self.block_size is not None:
            scale["encoding"] = "compressed_segmentation"
            scale["compressed_segmentation_block_size"] = self.block_size
        if self.sharding is not None:
            scale["sharding"] = {
                **self.sharding,
                "minishard_index_encoding": self.index_encoding.replace("zstd", "raw"),
                "data_encoding": self.data_encoding.replace("zstd", "raw"),
            }
        return {
            "driver": "neuroglancer_precomputed",
            "multiscale_metadata": {
                "type": "image",
                "data_type": self.data_type,
                "num_channels": self.channels,
            },
            "scale_metadata": scale,
            "context": {"file_io_sync": False},
        }


def triples(values: st.SearchStrategy[int]) -> st.SearchStrategy[Triple]:
    return st.tuples(values, values, values)


@st.composite
def forms(draw: st.DrawFn) -> Form:
    size = draw(triples(st.one_of(st.sampled_from([1, 2, 3, 7, 13, 17]), st.integers(1, 24))))
    chunk_size = draw(triples(st.one_of(st.sampled_from([1, 2, 5, 8, 32]), st.integers(1, 24))))
    while prod(-(-s // c) for s, c in zip(size, chunk_size, strict=True)) > MOST_CHUNKS:
        chunk_size = tuple(2 * c for c in chunk_size)  # type: ignore[assignment]
    is_labels = draw(st.booleans())
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "hash": draw(st.sampled_from(HASHES)),
        "preshift_bits": draw(st.sampled_from([0, 0, 1, 2, 5, 64])),
        "minishard_bits": draw(st.sampled_from([0, 1, 2, 3, 9])),
        "shard_bits": draw(st.sampled_from([0, 0, 1, 2, 5, 31, 55])),
    }
    if sharding["preshift_bits"] == 64 and draw(st.booleans()):
        sharding["shard_bits"] = 0
    return Form(
        size=size,
        chunk_size=chunk_size,
        voxel_offset=draw(triples(st.sampled_from([0, 0, -1, 5, -1000, 1 << 40, -(1 << 40)]))),
        data_type=draw(st.sampled_from(("uint32", "uint64") if is_labels else RAW_TYPES)),
        channels=draw(st.sampled_from([1, 1, 2, 3, 4])),
        block_size=draw(triples(st.sampled_from([1, 2, 3, 8, 16]))) if is_labels else None,
        sharding=sharding if draw(st.integers(0, 2)) else None,
        index_encoding=draw(st.sampled_from(STORED)),
        data_encoding=draw(st.sampled_from(STORED)),
    )


def source_of(form: Form, seed: int) -> np.ndarray:
    """Give noise, few values, one value or none, chunk by chunk."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(form.data_type)
    voxels = np.zeros((*form.size, form.channels), dtype)
    counts = [-(-s // c) for s, c in zip(form.size, form.chunk_size, strict=True)]
    for cell in np.ndindex(*counts):
        box = tuple(slice(i * c, (i + 1) * c) for i, c in zip(cell, form.chunk_size, strict=True))
        part = voxels[box]
        kind = rng.integers(0, 4)
        noise = rng.integers(0, 256, (*part.shape, 8), dtype=np.uint8)
        values = noise[..., : dtype.itemsize].copy().view(dtype)[..., 0]
        if dtype.kind == "f":
            values = np.nan_to_num(values)
        few = values.reshape(-1)[: 1 if kind == 1 else 3]
        chosen = rng.integers(0, len(few), part.shape)
        part[...] = (np.zeros_like(part), few[chosen], few[chosen], values)[kind]
    return voxels


def write(path: Path, form: Form, voxels: np.ndarray) -> None:
    """Write by tensorstore, hold its own reader to the source, then compress as `form` says."""
    kvstore = {"driver": "file", "path": f"{path}/"}
    store = tensorstore.open({**form.metadata(), "kvstore": kvstore}, create=True).result()
    with tensorstore.Transaction() as transaction:
        store.with_transaction(transaction)[...] = voxels
    np.testing.assert_array_equal(store.read().result(), voxels)
    (path / KEY).mkdir(exist_ok=True)  # a volume that is all 0 has no files
    files = [*(path / KEY).iterdir()]
    if form.sharding is None:
        for file in files:
            stored = encode(file.read_bytes(), form.data_encoding)
            file.unlink()
            file.with_name(file.name + SUFFIXES[form.data_encoding]).write_bytes(stored)
    elif "zstd" in (form.index_encoding, form.data_encoding):
        for file in files:
            file.write_bytes(repacked(file.read_bytes(), form))
        info = json.loads((path / "info").read_text())
        info["scales"][0]["sharding"]["minishard_index_encoding"] = form.index_encoding
        info["scales"][0]["sharding"]["data_encoding"] = form.data_encoding
        (path / "info").write_text(json.dumps(info))


def repacked(data: bytes, form: Form) -> bytes:
    """Give a shard of raw or gzip with zstd in their place."""
    assert form.sharding is not None
    bits = {name: form.sharding[name] for name in ("preshift_bits", "minishard_bits", "shard_bits")}
    encodings = {"minishard_index_encoding": form.index_encoding}
    encodings["data_encoding"] = form.data_encoding
    old = {name: value.replace("zstd", "raw") for name, value in encodings.items()}
    common = {**bits, "hash": form.sharding["hash"]}
    shard = Shard.parse(data, ShardingSpec(**common, **old))
    for key, stored in shard.chunks.items():
        raw = gzip.decompress(stored) if old["data_encoding"] == "gzip" else stored
        shard.chunks[key] = encode(raw, form.data_encoding)
    shard.spec = ShardingSpec(**common, **encodings)
    if form.sharding["hash"] != "identity":

        def minishard_of(chunk_id: int) -> int:
            hashed = hash_by_mmh3(chunk_id >> bits["preshift_bits"])
            return hashed & ((1 << bits["minishard_bits"]) - 1)

        shard.minishard_of = minishard_of  # type: ignore[method-assign]
    return shard.to_bytes()


def check_points(volume: Volume, form: Form, voxels: np.ndarray, rng: np.random.Generator) -> None:
    points = rng.integers(form.voxel_offset, form.upper, (40, 3))
    expected = voxels[tuple((points - form.voxel_offset).T)]
    labels, status = volume.lookup(points, units="voxel", return_status=True)
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == voxels.dtype
    # What is not stored is EMPTY, or in a file that was never written, and 0.
    assert set(status.tolist()) <= {PointStatus.OK, PointStatus.EMPTY, PointStatus.NOT_DOWNLOADED}
    assert not expected[status != PointStatus.OK].any()
    for point, label, one_status in zip(points[:9], labels[:9], status[:9], strict=True):
        one = volume.lookup(point, units="voxel", return_status=True)
        np.testing.assert_array_equal(one[0], label)
        assert one[1] == one_status


def check(data: st.DataObject) -> None:
    form = data.draw(forms())
    seed = data.draw(st.integers(0, 1 << 31))
    source = source_of(form, seed)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as directory:
        write(Path(directory), form, source)
        voxels = source[..., 0] if form.channels == 1 else source
        with open_volume(directory, missing="zero", threads=2) as volume:
            whole = volume[...]
            assert whole.dtype == voxels.dtype
            assert whole.flags.f_contiguous
            np.testing.assert_array_equal(whole, voxels)
            few_chunks = volume._core.few_chunks
            for way in (few_chunks, None, None):  # boxes by the short way and the long one
                change_core(volume, few_chunks=way)
                corners = rng.integers(form.voxel_offset, np.add(form.upper, 1), (2, 3))
                lower, upper = np.sort(corners, axis=0).tolist()
                part = tuple(
                    slice(a - o, b - o)
                    for a, b, o in zip(lower, upper, form.voxel_offset, strict=True)
                )
                box = Box(tuple(lower), tuple(upper))
                np.testing.assert_array_equal(volume.cutout(box), voxels[part])
                out = np.zeros(voxels[part].shape, voxels.dtype)
                np.testing.assert_array_equal(volume.cutout(box, out=out), voxels[part])
            for way in (None, few_chunks):
                change_core(volume, few_chunks=way)
                check_points(volume, form, voxels, rng)


@QUICK
@given(st.data())
def test_the_matrix_of_forms(data: st.DataObject) -> None:
    check(data)


@pytest.mark.slow
@MANY
@given(st.data())
def test_much_of_the_matrix_of_forms(data: st.DataObject) -> None:
    check(data)


def test_the_matrix_has_every_value_of_every_axis() -> None:
    """Else the tests above would show less than they say."""
    seen: set[tuple[str, Any]] = set()

    @settings(QUICK, max_examples=300)
    @given(forms())
    def collect(form: Form) -> None:
        seen.update((("type", form.data_type), ("channels", form.channels)))
        seen.update((("labels", form.block_size is not None), ("small", form.size < (2, 2, 2))))
        stored = form.index_encoding if form.sharding else ""
        seen.update((("index", stored), ("data", (form.sharding is None, form.data_encoding))))
        seen.add(("one chunk", all(map(int.__le__, form.size, form.chunk_size))))
        if form.sharding:
            seen.update(form.sharding.items())

    collect()
    expected = {
        *(("type", name) for name in RAW_TYPES),
        *(("channels", count) for count in (1, 2, 3, 4)),
        *((what, yes) for what in ("labels", "one chunk", "small") for yes in (True, False)),
        *(("index", name) for name in STORED),
        *(("data", (unsharded, name)) for unsharded in (True, False) for name in STORED),
        *(("hash", name) for name in HASHES),
        *(("preshift_bits", bits) for bits in (0, 64)),
        *(("minishard_bits", bits) for bits in (0, 9)),
        *(("shard_bits", bits) for bits in (0, 55)),
    }
    assert expected <= seen
