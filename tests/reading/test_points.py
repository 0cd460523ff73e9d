from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader import Box, PointStatus
from shardreader.reading.points import points_to_voxels, unit_size, voxel_box

QUICK = settings(max_examples=80, deadline=None, derandomize=True)
FAFB = Box((0, 0, 0), (124416, 67072, 7063))
WIDE = Box((-(2**52),) * 3, (2**52,) * 3)
OK, OUT, INVALID = PointStatus.OK, PointStatus.OUT_OF_BOUNDS, PointStatus.INVALID


def convert(
    points: Any,
    *,
    units: str | None = None,
    resolution: Any = None,
    voxel_size: Any = (8, 8, 40),
    bounds: Box = WIDE,
) -> tuple[Any, list[int], tuple[int, ...]]:
    voxels, status, shape = points_to_voxels(
        points, units=units, resolution=resolution, voxel_size=voxel_size, bounds=bounds
    )
    assert voxels.dtype == np.int64
    assert voxels.shape == (math.prod(shape), 3)
    assert status.dtype == np.uint8
    assert status.shape == voxels.shape[:1]
    return voxels.tolist(), status.tolist(), shape


class Frame:
    """As much of a table as the reader may count on."""

    def __init__(self, **columns: Any) -> None:
        self.columns = list(columns)
        self._columns = columns

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]


# Units


def test_no_unit_is_a_type_error_that_says_why() -> None:
    with pytest.raises(TypeError, match="8 x 8 x 40") as error:
        convert([[1, 2, 3]])
    for word in ('units="voxel"', 'units="nm"', "resolution", "4 x 4 x 40"):
        assert word in str(error.value)


def test_two_units_are_a_type_error() -> None:
    with pytest.raises(TypeError):
        convert([[1, 2, 3]], units="nm", resolution=(4, 4, 40))


@pytest.mark.parametrize("units", ["furlong", "", "NM", "voxels", 3])
def test_unknown_units(units: Any) -> None:
    with pytest.raises(ValueError, match="'voxel' or 'nm'"):
        convert([[1, 2, 3]], units=units)


@pytest.mark.parametrize(
    "resolution",
    [(4, 4), (4, 4, 40, 1), (), "444", (0, 4, 40), (-4, 4, 40), (math.nan, 4, 40)]
    + [
        (math.inf, 4, 40),
        (1e300, 4, 40),
        (5e-324, 4, 40),
        (True, 4, 40),
        ("4", 4, 40),
        (None, 4, 40),
        (4j, 4, 40),
    ],
    ids=repr,
)
def test_bad_resolutions(resolution: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="three positive numbers"):
        unit_size(None, resolution, (8, 8, 40))
    with pytest.raises((TypeError, ValueError), match="three positive numbers"):
        voxel_box(((0, 0, 0), (1, 1, 1)), resolution=resolution, voxel_size=(8, 8, 40))


def test_resolution_that_is_one_number() -> None:
    with pytest.raises((TypeError, ValueError), match="three positive numbers"):
        unit_size(None, 4, (8, 8, 40))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "resolution",
    [(4, 4, 40), [4, 4, 40], (4.0, 4.0, 40.0), np.array([4, 4, 40]), np.float32([4, 4, 40])],
)
def test_resolutions_of_all_kinds(resolution: Any) -> None:
    assert convert([[5, 4, 3]], resolution=resolution)[0] == [[2, 2, 3]]
    box = voxel_box(((5, 4, 3), (6, 5, 4)), resolution=resolution, voxel_size=(8, 8, 40))
    assert box == Box((2, 2, 3), (3, 3, 4))


def test_catmaid_points_are_in_other_voxels() -> None:
    points = [[20001, 30003, 100]]
    assert convert(points, units="voxel")[0] == points
    assert convert(points, resolution=(4, 4, 40))[0] == [[10000, 15001, 100]]
    assert convert(points, units="nm")[0] == [[2500, 3750, 2]]


# Floor decides


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_floor_of_negative_coordinates(kind: Any) -> None:
    points = np.array([[-0.5, -1.0, -1.5], [0.5, 1.5, -0.0]], dtype=kind)
    assert convert(points, units="voxel")[0] == [[-1, -1, -2], [0, 1, 0]]


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64, ">i4", ">i8", float])
def test_floor_of_negative_nanometres(kind: Any) -> None:
    points = np.array([[-1, -8, -9], [7, 8, -41]], dtype=kind)
    assert convert(points, units="nm")[0] == [[-1, -1, -1], [0, 1, -2]]


@pytest.mark.parametrize("voxel_size", [(4.4, 3.6, 18.75), (0.1, 0.3, 40.5), (8, 8, 40)])
@pytest.mark.parametrize("kind", [np.int64, np.float64, np.float32])
def test_a_voxel_begins_where_it_begins(voxel_size: Any, kind: Any) -> None:
    """Nanometres that are a whole multiple of the voxel size are that voxel, as in a box."""
    steps = [int(1 / math.gcd(1000, round(1000 * size)) * 1000) for size in voxel_size]
    many = np.arange(-300, 300)
    points = np.stack([many * round(s * v) for s, v in zip(steps, voxel_size, strict=True)], 1)
    voxels = np.stack([many * s for s in steps], 1)
    assert convert(points.astype(kind), units="nm", voxel_size=voxel_size)[0] == voxels.tolist()


@QUICK
@given(
    st.lists(st.tuples(*[st.integers(-(2**48), 2**48)] * 3), min_size=1, max_size=5),
    st.tuples(*[st.sampled_from([1, 4, 8, 40, 3.6, 4.4, 0.5, 18.75])] * 3),
    st.tuples(*[st.sampled_from([4, 8, 40, 4.4, 16.5, 33])] * 3),
)
def test_integers_are_exact_in_all_resolutions(
    points: list[tuple[int, ...]], resolution: Any, voxel_size: Any
) -> None:
    exact = [
        [
            math.floor(value * Fraction(repr(unit)) / Fraction(repr(size)))
            for value, unit, size in zip(point, resolution, voxel_size, strict=True)
        ]
        for point in points
    ]
    wide = Box((-(2**60),) * 3, (2**60,) * 3)
    voxels, status, _ = convert(points, resolution=resolution, voxel_size=voxel_size, bounds=wide)
    assert status == [OK] * len(points)
    assert voxels == exact


@QUICK
@given(
    st.lists(st.tuples(*[st.floats(-1e7, 1e7)] * 3), min_size=1, max_size=5),
    st.tuples(*[st.sampled_from([1, 4, 8, 16, 40, 80])] * 3),
)
def test_floats_land_in_the_voxel_that_holds_them(
    points: list[tuple[float, ...]], resolution: Any
) -> None:
    voxels, _, _ = convert(points, resolution=resolution)
    for point, voxel in zip(points, voxels, strict=True):
        for value, unit, size, got in zip(point, resolution, (8, 8, 40), voxel, strict=True):
            exact = Fraction(value) * unit / size
            # Rounding may lift a point onto the face of the next voxel that it all but touches.
            assert math.floor(exact) <= got <= math.floor(exact + Fraction(1, 10**8))


@QUICK
@given(st.tuples(*[st.integers(-(2**40), 2**40)] * 3), st.sampled_from([None, "voxel", "nm"]))
def test_points_and_boxes_agree(point: tuple[int, int, int], units: str | None) -> None:
    unit: dict[str, Any] = {"units": units} if units else {"resolution": (4, 4.4, 33)}
    (voxel,), _, _ = convert([point], **unit)
    upper = tuple(value + 1 for value in point)
    assert voxel_box((point, upper), **unit, voxel_size=(8, 8, 40)).lower == tuple(voxel)


# Status


@pytest.mark.parametrize(
    ("point", "status"),
    [
        ([0, 0, 0], OK),
        ([124415, 67071, 7062], OK),
        ([124416, 0, 0], OUT),
        ([0, 67072, 0], OUT),
        ([0, 0, 7063], OUT),
        ([-1, 0, 0], OUT),
        ([-1e-9, 0.0, 0.0], OUT),
        ([-0.0, 0.0, 0.0], OK),
        ([124415.999, 0, 0], OK),
        ([math.nan, 0, 0], INVALID),
        ([0, math.inf, 0], INVALID),
        ([0, 0, -math.inf], INVALID),
        ([-1, math.nan, 0], INVALID),
        ([1e300, 0, 0], OUT),
        ([0, -1e300, 0], OUT),
        ([1.7e308, 1.7e308, 1.7e308], OUT),
        ([2**62, 0, 0], OUT),
        ([-(2**63), 0, 0], OUT),
        ([2**63, 0, 0], OUT),
        ([2**64 - 1, 1, 1], OUT),
        ([2**63, -1, 0], OUT),
    ],
    ids=repr,
)
@pytest.mark.parametrize("unit", [{"units": "voxel"}, {"resolution": (8.0, 8.0, 40.0)}])
def test_status(point: list[float], status: PointStatus, unit: Any) -> None:
    assert convert([point], bounds=FAFB, **unit)[1] == [status]


@pytest.mark.parametrize("units", ["voxel", "nm"])
@pytest.mark.parametrize("extreme", [2**63 - 1, -(2**63), 2**62, 2**53 + 1, 1 << 60])
def test_no_extreme_coordinate_wraps_into_the_volume(units: str, extreme: int) -> None:
    points = np.array([[extreme, 0, 0], [0, extreme, 0], [0, 0, extreme]], dtype=np.int64)
    assert convert(points, units=units, bounds=FAFB)[1] == [OUT] * 3
    for resolution in [(10**30, 4, 40), (1e25, 4, 40), (2**62, 2**62, 2**62), (3.3, 1e20, 7)]:
        assert convert(points[:1], resolution=resolution, bounds=FAFB)[1] == [OUT]


@pytest.mark.parametrize("unit", [1e-30, 1e-25, 1e-12, 0.1 + 0.2, 1 / 3, 1e-9 + 1e-17])
@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float64])
def test_tiny_and_odd_units(unit: float, kind: Any) -> None:
    (voxel,), status, _ = convert(np.array([[100, 100, 100]], kind), resolution=(unit,) * 3)
    assert voxel == [math.floor(100 * Fraction(repr(unit)) / size) for size in (8, 8, 40)]
    assert status == [OK]


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, 2**63 + 8])
@pytest.mark.parametrize("units", ["voxel", "nm"])
def test_uint64_above_the_signed_range(value: int, units: str) -> None:
    points = np.array([[value, 1, 1], [1, 1, 1]], dtype=np.uint64)
    assert convert(points, units=units, bounds=FAFB)[1] == [OUT, OK]


def test_status_belongs_to_its_row_alone() -> None:
    points = [[0, 0, 0], [math.nan, 0, 0], [5, 5, 5], [-1, 0, 0], [math.inf] * 3, [7, 7, 7]]
    voxels, status, _ = convert(points, units="voxel", bounds=FAFB)
    assert status == [OK, INVALID, OK, OUT, INVALID, OK]
    assert [voxels[i] for i in (0, 2, 5)] == [[0, 0, 0], [5, 5, 5], [7, 7, 7]]


# Shapes and kinds


@pytest.mark.parametrize("shape", [(), (1,), (4,), (0,), (2, 3), (2, 0, 3), (1, 1, 1, 2)])
@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float32, np.float64])
def test_any_leading_shape(shape: tuple[int, ...], kind: Any) -> None:
    points = np.arange(math.prod(shape) * 3).reshape(*shape, 3).astype(kind)
    voxels, status, found_shape = convert(points, units="voxel")
    assert found_shape == shape
    assert voxels == points.reshape(-1, 3).tolist()
    assert status == [OK] * math.prod(shape)


@pytest.mark.parametrize(
    "points", [[1, 2, 3], (1, 2, 3), [[1, 2, 3]], [(1.0, 2, 3)], [[1.9, 2.9, 3.9]]]
)
def test_lists_and_tuples(points: Any) -> None:
    assert convert(points, units="voxel")[0] == [[1, 2, 3]]


@pytest.mark.parametrize(
    "points", [[], (), np.empty(0), np.empty((0, 3)), np.empty((0, 3), object)]
)
def test_no_points(points: Any) -> None:
    assert convert(points, units="voxel") == ([], [], (0,))


@pytest.mark.parametrize(
    "points",
    [5, np.array(5), [1, 2], [[1, 2]], [1, 2, 3, 4], np.zeros((3, 4)), np.zeros((3, 2))]
    + [np.zeros((3, 0)), np.zeros((0, 4)), None],
    ids=repr,
)
def test_wrong_shapes(points: Any) -> None:
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 3\)"):
        convert(points, units="voxel")


@pytest.mark.parametrize(
    "points",
    [
        [["1", "2", "3"]],
        [[b"1", b"2", b"3"]],
        [[True, False, True]],
        [[1, 2, 3j]],
        [[2**64, 0, 0]],
        [[None, 1, 2]],
        np.array([[1, 2, 3]], dtype=object),
        np.array([[1, 2, 3]], dtype="m8[s]"),
        np.array([[1, 2, 3]], dtype="M8[s]"),
    ],
    ids=repr,
)
def test_what_is_no_number_is_refused(points: Any) -> None:
    with pytest.raises(TypeError, match="integers or floats"):
        convert(points, units="voxel")


def test_the_callers_array_is_left_alone() -> None:
    for kind in (np.int64, np.uint64, np.float64):
        points = np.array([[1, 2, 3], [2**40, 5, 6]], dtype=kind)
        before = points.copy()
        for unit in ({"units": "voxel"}, {"units": "nm"}, {"resolution": (4.4, 4, 40)}):
            convert(points, **unit)
        np.testing.assert_array_equal(points, before)


def test_strided_points() -> None:
    points = np.arange(60).reshape(3, 20).T[::-2]
    assert convert(points, units="voxel")[0] == points.tolist()


# Frames


def test_frame_by_its_column_names() -> None:
    frame = Frame(name=["a", "b"], z=np.array([3, 6]), y=[2, 5], x=[1.5, 4.5])
    assert convert(frame, units="voxel") == ([[1, 2, 3], [4, 5, 6]], [OK, OK], (2,))


@pytest.mark.parametrize("missing", ["x", "y", "z"])
def test_frame_without_a_column(missing: str) -> None:
    columns = {axis: [1] for axis in "xyz" if axis != missing}
    with pytest.raises(ValueError, match="columns x, y and z"):
        convert(Frame(**columns), units="voxel")


def test_empty_frame() -> None:
    assert convert(Frame(x=[], y=[], z=[]), units="voxel") == ([], [], (0,))
    nothing = np.array([], dtype=object)
    assert convert(Frame(x=nothing, y=nothing, z=nothing), units="voxel") == ([], [], (0,))


def test_frame_of_text() -> None:
    with pytest.raises(TypeError, match="integers or floats"):
        convert(Frame(x=["1"], y=["2"], z=["3"]), units="voxel")


def test_a_bool_column_is_no_coordinate() -> None:
    frame = Frame(x=np.array([1]), y=np.array([2]), z=np.array([True]))
    with pytest.raises(TypeError, match="integers or floats"):
        convert(frame, units="voxel")


def test_large_integers_in_a_frame_of_mixed_columns_stay_in_place() -> None:
    frame = Frame(x=np.array([2**63], np.uint64), y=np.array([-1]), z=np.array([0.5]))
    assert convert(frame, units="voxel", bounds=FAFB)[1] == [OUT]


def test_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": ["a", "b"], "z": [3, 6], "y": [2, 5], "x": [1.5, math.nan]})
    voxels, status, shape = convert(frame, units="voxel")
    assert (voxels[0], status, shape) == ([1, 2, 3], [OK, INVALID], (2,))
