from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from volumes import Spec, Written, random_labels, write_volume

from shardreader import (
    ChunkError,
    InvalidPointError,
    NotDownloadedError,
    OutOfBoundsError,
    PointStatus,
    ShardError,
    ShardReaderError,
    Volume,
    open_volume,
)
from shardreader.decoding import cseg

OK, EMPTY, OUT, INVALID, ABSENT, CORRUPT = PointStatus(0), *map(PointStatus, range(1, 6))
SPEC = Spec(voxel_offset=(-7, 3, -100), data_encoding="raw")


def inside(spec: Spec, count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(spec.voxel_offset, spec.upper, size=(count, 3))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    labels = random_labels(SPEC, 5, background=False)
    labels[:16, :16, :8] = 0  # the first chunk is not stored
    return write_volume(tmp_path_factory.mktemp("lookup"), SPEC, labels=labels)


@pytest.fixture
def volume(written: Written) -> Iterator[Volume]:
    with open_volume(written.path) as volume:
        yield volume


# Labels


def test_no_other_voxel_is_decoded(
    volume: Volume, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks: list[int] = []
    read_voxels = cseg.read_voxels

    def spy(*args: Any) -> int:
        chunks.append(len(args[0]))
        return read_voxels(*args)

    monkeypatch.setattr(cseg, "decode_box", None)
    monkeypatch.setattr(cseg, "read_voxels", spy)
    points = inside(SPEC, 500)
    np.testing.assert_array_equal(volume.lookup(points, units="voxel"), written.at(points))
    cells = np.unique((points - np.array(SPEC.voxel_offset)) // SPEC.chunk_size, axis=0)
    stored = len(cells) - (cells == 0).all(axis=1).any()
    assert len(chunks) == stored, "a chunk was visited more than once, or not at all"


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (4, 1, 2)])
def test_shape_and_type(volume: Volume, written: Written, shape: tuple[int, ...]) -> None:
    points = inside(SPEC, math.prod(shape)).reshape(*shape, 3)
    labels, status = volume.lookup(points, units="voxel", return_status=True)
    assert isinstance(labels, np.ndarray)
    assert isinstance(status, np.ndarray)
    assert labels.shape == status.shape == shape
    assert (labels.dtype, status.dtype) == (np.uint64, np.uint8)
    np.testing.assert_array_equal(labels, written.at(points))


@pytest.mark.parametrize("points", [[], np.empty((0, 3)), np.empty((2, 0, 3), int)])
def test_no_points(volume: Volume, points: Any) -> None:
    labels, status = volume.lookup(points, units="voxel", return_status=True)
    assert labels.shape == status.shape == np.shape(points)[: max(np.ndim(points) - 1, 1)]
    assert (labels.dtype, status.dtype) == (np.uint64, np.uint8)
    assert volume.lookup(points, units="nm").shape == labels.shape


def test_order_and_duplicates(volume: Volume, written: Written) -> None:
    points = inside(SPEC, 300)
    order = np.random.default_rng(1).integers(0, 300, size=3000)
    np.testing.assert_array_equal(
        volume.lookup(points[order], units="voxel"), written.at(points[order])
    )
    same = np.repeat(points[:1], 1000, axis=0)
    assert set(volume.lookup(same, units="voxel").tolist()) == {int(written.at(points[0]))}


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.float32, np.float64])
def test_kinds_of_numbers(volume: Volume, written: Written, kind: Any) -> None:
    points = inside(SPEC, 50)
    given = points.astype(kind)
    if given.dtype.kind == "f":
        given = given + kind(0.75)
    np.testing.assert_array_equal(volume.lookup(given, units="voxel"), written.at(points))
    np.testing.assert_array_equal(volume.lookup(points.tolist(), units="voxel"), written.at(points))


def test_units_name_the_same_voxel(volume: Volume, written: Written) -> None:
    points = inside(SPEC, 50)
    truth = written.at(points)
    for nm in (points * [8, 8, 40], points * [8, 8, 40] + [7, 7, 39], points * [8.0, 8, 40] + 7.9):
        np.testing.assert_array_equal(volume.lookup(nm, units="nm"), truth)
    half = points * [2, 2, 1] + [1, 0, 0]
    np.testing.assert_array_equal(volume.lookup(half, resolution=(4, 4, 40)), truth)


@pytest.mark.parametrize("unit", [{}, {"units": "nm", "resolution": (4, 4, 40)}])
def test_one_unit_must_be_given(volume: Volume, unit: Any) -> None:
    for points in ([[1, 5, -99]], []):
        with pytest.raises(TypeError, match="no default"):
            volume.lookup(points, **unit)


def test_frame(volume: Volume, written: Written) -> None:
    class Frame:
        columns = ("id", "x", "y", "z")

        def __getitem__(self, name: str) -> Any:
            return points[:, "xyz".index(name)]

    points = inside(SPEC, 20)
    np.testing.assert_array_equal(volume.lookup(Frame(), units="voxel"), written.at(points))


def test_pandas(volume: Volume, written: Written) -> None:
    pandas = pytest.importorskip("pandas")
    points = inside(SPEC, 20)
    frame = pandas.DataFrame(points, columns=list("xyz")).assign(name="a")[["name", "z", "y", "x"]]
    np.testing.assert_array_equal(volume.lookup(frame, units="voxel"), written.at(points))


def test_points_are_not_changed(volume: Volume) -> None:
    for kind in (np.int64, np.float64, np.int32):
        points = inside(SPEC, 100).astype(kind)
        points.flags.writeable = False
        volume.lookup(points, units="voxel")


# Statuses


@pytest.fixture
def damaged(tmp_path: Path) -> Written:
    """One shard gone, one all zeros, one chunk damaged, one chunk not stored."""
    labels = random_labels(SPEC, 5, background=False)
    labels[:16, :16, :8] = 0
    volume = write_volume(tmp_path, SPEC, labels=labels)
    point_of = points_by_shard(volume)
    gone, zeros, chunk = sorted(point_of)[1:4]
    gone.unlink()
    zeros.write_bytes(bytes(zeros.stat().st_size))
    data = bytearray(chunk.read_bytes())
    with open_volume(tmp_path) as reader:
        cell = (point_of[chunk] - np.array(SPEC.voxel_offset)) // SPEC.chunk_size
        found = reader._core.source.find(cell[np.newaxis], reader._core.workers)
    data[int(found.starts[0])] ^= 0xFF  # the first word of the encoding: the channel's offset
    chunk.write_bytes(data)
    return volume


def points_by_shard(volume: Written) -> dict[Path, Any]:
    cells = np.array([[s.start for s in cell] for cell in volume.spec.cells()])
    corners = cells + np.array(volume.spec.voxel_offset)
    return {volume.shard_of(tuple(corner.tolist())): corner for corner in corners[1:]}


def named_points(volume: Written) -> dict[str, list[float]]:
    by_shard = points_by_shard(volume)
    ok, gone, zeros, chunk = (by_shard[shard].tolist() for shard in sorted(by_shard))
    return {
        "ok": ok,
        "empty": list(SPEC.voxel_offset),
        "out": [10**6, 5, -99],
        "invalid": [math.nan, 5, -99],
        "gone": gone,
        "zeros": zeros,
        "chunk": chunk,
    }


STATUS = {
    "ok": OK,
    "empty": EMPTY,
    "out": OUT,
    "invalid": INVALID,
    "gone": ABSENT,
    "zeros": CORRUPT,
    "chunk": CORRUPT,
}


@pytest.mark.parametrize("missing", ["error", "zero"])
def test_every_status(damaged: Written, missing: str) -> None:
    points = named_points(damaged)
    with open_volume(damaged.path, missing=missing) as volume:
        labels, status = volume.lookup(
            [points[name] for name in STATUS], units="voxel", return_status=True
        )
    assert [PointStatus(s) for s in status] == list(STATUS.values())
    assert labels[0] == damaged.at(np.array(points["ok"], int))
    assert labels[0] != 0
    assert not labels[1:].any()


@pytest.mark.parametrize(
    ("names", "missing", "error"),
    [
        ("ok empty", "error", None),
        ("ok empty gone", "zero", None),
        ("ok invalid", "error", InvalidPointError),
        ("out invalid", "error", OutOfBoundsError),
        ("invalid out gone", "error", NotDownloadedError),
        ("invalid out gone", "zero", OutOfBoundsError),
        ("invalid gone", "zero", InvalidPointError),
        ("invalid out gone chunk", "error", ChunkError),
        ("invalid out gone zeros", "error", ShardError),
        ("gone zeros", "zero", ShardError),
        ("gone chunk", "zero", ChunkError),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_precedence(
    damaged: Written, names: str, missing: str, error: type[Exception] | None, backwards: bool
) -> None:
    wanted = names.split()[:: -1 if backwards else 1]
    points = np.array([named_points(damaged)[name] for name in wanted], dtype=float)
    with open_volume(damaged.path, missing=missing) as volume:
        labels, status = volume.lookup(points, units="voxel", return_status=True)
        assert status.tolist() == [STATUS[name] for name in wanted]
        if error is None:
            np.testing.assert_array_equal(volume.lookup(points, units="voxel"), labels)
            return
        with pytest.raises(error) as raised:
            volume.lookup(points, units="voxel")
        assert isinstance(raised.value, ShardReaderError)
        np.testing.assert_array_equal(raised.value.labels, labels)
        np.testing.assert_array_equal(raised.value.status, status)


def test_errors_are_also_of_the_builtin_kind() -> None:
    assert issubclass(NotDownloadedError, FileNotFoundError)
    assert issubclass(OutOfBoundsError, IndexError)
    assert issubclass(InvalidPointError, ValueError)


def test_messages_count_and_show_the_first(damaged: Written) -> None:
    points = named_points(damaged)
    with open_volume(damaged.path) as volume:
        for name, words in {
            "out": ["OUT_OF_BOUNDS", "(1000000, 5, -99)", "return_status=True"],
            "invalid": ["INVALID", "return_status=True"],
            "gone": ["NOT_DOWNLOADED", ".shard", 'missing="zero"'],
            "zeros": ["CORRUPT", ".shard", "expected", "found"],
            "chunk": ["CORRUPT", ".shard", "minishard", "cell", "bytes [", "expected", "found"],
        }.items():
            with pytest.raises(ShardReaderError) as error:
                volume.lookup([points["ok"], points[name], points[name]], units="voxel")
            for word in ["2 of 3", "point 1", *words]:
                assert word in str(error.value), name


def test_the_answer_in_the_exception_has_the_shape_of_the_points(volume: Volume) -> None:
    with pytest.raises(OutOfBoundsError, match=r"\(1, 0\)") as error:
        volume.lookup([[[30, 30, -85]] * 2, [[10**6, 5, -99]] * 2], units="voxel")
    assert error.value.labels is not None
    assert error.value.labels.shape == (2, 2)
    assert error.value.status is not None
    assert error.value.status.tolist() == [[OK, OK], [OUT, OUT]]


@pytest.mark.parametrize("point", [(math.nan, 0, 0), (10**6, 0, 0)])
def test_a_single_bad_point(volume: Volume, point: Any) -> None:
    with pytest.raises((OutOfBoundsError, InvalidPointError)) as error:
        volume.lookup(point, units="voxel")
    assert error.value.status is not None
    assert error.value.status.shape == ()


def test_every_face_of_the_volume(volume: Volume) -> None:
    middle = np.add(SPEC.voxel_offset, SPEC.upper) // 2
    for axis in range(3):
        line = np.repeat(middle[np.newaxis], 4, axis=0)
        low, high = SPEC.voxel_offset[axis], SPEC.upper[axis]
        line[:, axis] = [low - 1, low, high - 1, high]
        _, status = volume.lookup(line, units="voxel", return_status=True)
        assert status.tolist() == [OUT, OK, OK, OUT]


def test_the_volume_can_be_asked_on_after_an_error(damaged: Written) -> None:
    points = named_points(damaged)
    with open_volume(damaged.path) as volume:
        for name in ("chunk", "zeros", "gone", "out", "invalid"):
            with pytest.raises(ShardReaderError):
                volume.lookup([points[name]], units="voxel")
            assert volume.lookup([points["ok"]], units="voxel")[0] == damaged.at(
                np.array(points["ok"], int)
            )
