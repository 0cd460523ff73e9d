"""Volumes in compresso and crackle through the front door: each command, sound and damaged."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli import run, run_here
from compresso_damage import take_apart
from fixture_truth import FIXTURES, Truth, load_truth
from PIL import Image
from shard_builder import Shard

import shardreader
from shardreader import Box, ChunkError, PointStatus, open_volume
from shardreader.checking.findings import FindingKind
from shardreader.decoding.cseg.tally import LabelTally
from shardreader.format.info import parse_info
from shardreader.viewing.scene import make_scene

KEY = "8_8_40"
COMPRESSO = ("compresso", "compresso-uint8", "unsharded-compresso", "unsharded-compresso-gzip")
CRACKLE = ("crackle", "crackle-uint16", "unsharded-crackle", "unsharded-crackle-gzip")
NAMES = (*COMPRESSO, *CRACKLE)
each = pytest.mark.parametrize("name", NAMES)


def corners(truth: Truth) -> str:
    return ",".join(map(str, (*truth.origin, *truth.upper)))


def box_of(truth: Truth) -> list[object]:
    return ["--box", corners(truth), "--units", "voxel"]


@each
def test_cutout_lookup_labels(name: str, tmp_path: Path) -> None:
    truth = load_truth(name, KEY)
    assert run("cutout", truth.path, *box_of(truth), "-o", tmp_path / "box.npy").returncode == 0
    np.testing.assert_array_equal(np.load(tmp_path / "box.npy"), truth.labels)

    points = np.random.default_rng(0).integers(truth.origin, truth.upper, (300, 3))
    table = "x,y,z\n" + "".join(f"{x},{y},{z}\n" for x, y, z in points)
    (tmp_path / "points.csv").write_text(table)
    done = run_here("lookup", truth.path, tmp_path / "points.csv", "--units", "voxel")
    assert done.returncode == 0, done.stderr
    found = [int(row["segment"]) for row in csv.DictReader(io.StringIO(done.stdout))]
    assert found == truth.labels[tuple((points - truth.origin).T)].tolist()

    done = run_here("labels", truth.path, *box_of(truth), "--counts")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    labels, counts = np.unique(truth.labels, return_counts=True)
    assert [int(row["label"]) for row in rows] == labels.tolist()
    assert [int(row["voxels"]) for row in rows] == counts.tolist()


@each
def test_picture_view_info(name: str, tmp_path: Path) -> None:
    truth = load_truth(name, KEY)
    z = truth.origin[2] + 3
    output = tmp_path / "slice.png"
    done = run_here("picture", truth.path, "--slice", f"z={z}", "--units", "voxel", "-o", output)
    assert done.returncode == 0, done.stderr
    x, y = truth.labels.shape[:2]
    colours = np.array(Image.open(output))[:y, :x, :3].reshape(-1, 3)
    labels = truth.labels[..., 3].T.ravel()
    for label in np.unique(labels):
        assert len(np.unique(colours[labels == label], axis=0)) == 1

    with open_volume(truth.path) as volume:
        place = make_scene(volume).position
        assert volume.lookup([place], units="voxel", return_status=True)[1] == PointStatus.OK
    assert ("crackle" if name in CRACKLE else "compresso") in run_here("info", truth.path).stdout


@pytest.mark.parametrize("name", ["compresso", "compresso-uint8", "crackle", "crackle-uint16"])
def test_fetch_a_box_then_verify(name: str, tmp_path: Path) -> None:
    truth = load_truth(name, KEY)
    x, y, z = truth.origin
    part = f"{x},{y},{z},{x + 5},{y + 5},{z + 2}"
    done = run("fetch", truth.path, tmp_path, "--box", part, "--units", "voxel")
    assert done.returncode == 0, done.stderr
    with open_volume(tmp_path) as volume:
        np.testing.assert_array_equal(
            volume[x : x + 5, y : y + 5, z : z + 2], truth.labels[:5, :5, :2]
        )
    assert run_here("verify", tmp_path, "--allow-absent").returncode == 0


def damage_compresso(stream: bytes, z: int) -> bytes:
    """Let a location of one slice name what is no neighbour: all else of the stream is sound."""
    parts = take_apart(stream)
    width, slices = parts.fields[2], parts.fields[5]
    entry = len(parts.tail) // (2 * slices)
    starts = np.frombuffer(parts.tail, f"<u{entry}")[slices:].astype(int).cumsum()
    at = width * int(starts[z])
    locations = parts.locations[:at] + bytes(width) + parts.locations[at + width :]
    return replace(parts, locations=locations).stream()


def damage_crackle(stream: bytes, z: int) -> bytes:
    """Change the stored checksum of one slice: all else of the stream is sound."""
    changed = bytearray(stream)
    slices = int.from_bytes(stream[15:19], "little")
    changed[len(stream) - 4 * (slices - z)] ^= 0xFF
    return bytes(changed)


DAMAGED = pytest.mark.parametrize(
    ("encoding", "damage_slice", "what"),
    [
        ("compresso", damage_compresso, r"location of voxel \(\d+, \d+, {}\)"),
        ("crackle", damage_crackle, r"CRC-32C of the connected components of slice z={}"),
    ],
)


@DAMAGED
def test_damage_in_a_shard(
    encoding: str,
    damage_slice: Callable[[bytes, int], bytes],
    what: str,
    writable: Callable[[str], Path],
) -> None:
    what = what.format(3)
    path = writable(encoding)
    truth = load_truth(encoding, KEY)
    spec = parse_info((path / "info").read_bytes(), "info").scales[0].sharding
    file = path / KEY / "0.shard"
    shard = Shard.parse(file.read_bytes(), spec)
    chunk = next(iter(shard.chunks))
    assert chunk == 0
    shard.chunks[0] = gzip.compress(damage_slice(gzip.decompress(shard.chunks[0]), 3), mtime=0)
    file.write_bytes(shard.to_bytes())
    with open_volume(path) as volume:
        # What does not touch the slice is read.
        np.testing.assert_array_equal(volume[:16, :16, :3], truth.labels[:16, :16, :3])
        np.testing.assert_array_equal(volume[:16, :16, 4:8], truth.labels[:16, :16, 4:8])
        with pytest.raises(ChunkError, match=rf"0\.shard.*{what}"):
            volume[5, 5, 3]
        points = [[5, 5, 2], [5, 5, 3], [5, 5, 4], [9, 1, 3]]
        labels, status = volume.lookup(points, units="voxel", return_status=True)
        assert status.tolist() == [0, PointStatus.CORRUPT, 0, PointStatus.CORRUPT]
        assert labels.tolist() == [truth.labels[5, 5, 2], 0, truth.labels[5, 5, 4], 0]
        assert volume.labels(Box((0, 0, 4), (16, 16, 8))).tolist() == (
            np.unique(truth.labels[:16, :16, 4:8]).tolist()
        )
        with pytest.raises(ChunkError):
            volume.label_counts(Box((0, 0, 0), (16, 16, 8)))
        with pytest.raises(ChunkError):
            volume.labels(Box((0, 0, 0), (15, 16, 8)))
        if encoding == "compresso":
            # Without checksums the table alone is not believed.
            with pytest.raises(ChunkError):
                volume.labels(Box((0, 0, 0), (16, 16, 8)))
    done = run("verify", path, "--json")
    assert done.returncode == 1
    assert FindingKind.ENCODING_STRUCTURE.value in json.dumps(json.loads(done.stdout))
    assert re.search(what, done.stdout)


@each
def test_labels_of_whole_slices_are_not_looked_for_in_voxels(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tallied: list[int] = []
    add_voxels = LabelTally.add_voxels

    def add(self: LabelTally, voxels: np.ndarray, origin: tuple[int, int, int]) -> None:
        tallied.append(voxels.size)
        add_voxels(self, voxels, origin)

    monkeypatch.setattr(LabelTally, "add_voxels", add)
    truth = load_truth(name, KEY)
    x, y, z = truth.origin
    x1, y1, z1 = truth.upper
    with open_volume(truth.path) as volume:
        for first, end in ((z, z1), (z + 1, z1 - 1)):
            found = volume.labels(Box((x, y, first), (x1, y1, end)))
            wanted = np.unique(truth.labels[..., first - z : end - z])
            assert found.tolist() == wanted.tolist()
            # Each chunk adds each of its labels once.
            assert max(tallied) <= len(wanted)
            tallied.clear()
        volume.labels(Box((x + 1, y, z), (x1, y1, z1)))
        assert max(tallied) > truth.labels.shape[1]


@pytest.mark.parametrize("name", ["crackle", "crackle-uint16"])
def test_labels_of_whole_slices_come_from_the_table(
    name: str, writable: Callable[[str], Path]
) -> None:
    """Nothing is decoded: with other crack codes they are the same."""
    path = writable(name)
    truth = load_truth(name, KEY)
    spec = parse_info((path / "info").read_bytes(), "info").scales[0].sharding
    for file in path.glob("*/*.shard"):
        shard = Shard.parse(file.read_bytes(), spec)
        for chunk, stored in shard.chunks.items():
            stream = bytearray(gzip.decompress(stored))
            stream[-4 * (int.from_bytes(stream[15:19], "little") + 1) - 1] ^= 0xFF
            shard.chunks[chunk] = gzip.compress(bytes(stream), mtime=0)
        file.write_bytes(shard.to_bytes())
    x, y, z = truth.labels.shape
    with open_volume(path) as volume:
        for part in (slice(0, z), slice(1, z - 1), slice(2, 4)):
            found = volume.labels(Box((0, 0, part.start), (x, y, part.stop)))
            assert found.tolist() == np.unique(truth.labels[..., part]).tolist()
        with pytest.raises(ChunkError):
            volume.label_counts(volume.bounds)
        with pytest.raises(ChunkError):
            volume.labels(Box((1, 0, 0), (x, y, z)))


@DAMAGED
def test_damage_in_a_chunk_file(
    encoding: str,
    damage_slice: Callable[[bytes, int], bytes],
    what: str,
    writable: Callable[[str], Path],
) -> None:
    what = what.format(0)
    path = writable(f"unsharded-{encoding}")
    file = path / KEY / "-5-3_3-11_70-74"
    file.write_bytes(damage_slice(file.read_bytes(), 0))
    with open_volume(path) as volume:
        with pytest.raises(ChunkError, match=rf"-5-3_3-11_70-74.*{what}"):
            volume[...]
        _, status = volume.lookup([[-5, 3, 70], [-5, 3, 71]], units="voxel", return_status=True)
    assert status.tolist() == [PointStatus.CORRUPT, PointStatus.OK]


@pytest.mark.parametrize("encoding", ["compresso", "crackle"])
def test_two_channels_are_refused(encoding: str, writable: Callable[[str], Path]) -> None:
    path = writable(encoding)
    info = json.loads((path / "info").read_text())
    for change, expected in (
        ({"num_channels": 2}, "of 1 channels, found uint64 of 2"),
        ({"data_type": "int32"}, "found int32"),
    ):
        (path / "info").write_text(json.dumps(info | change))
        with pytest.raises(shardreader.InfoError, match=expected):
            open_volume(path)


def test_every_fixture_is_here() -> None:
    found = [*FIXTURES.glob("*crackle*/info"), *FIXTURES.glob("*compresso*/info")]
    assert sorted(p.parent.name for p in found) == sorted(NAMES)
