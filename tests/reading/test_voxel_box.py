"""Corners of boxes in units become voxels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from shardreader import Box
from shardreader.reading.points import voxel_box


@pytest.mark.parametrize(
    ("corners", "unit", "box"),
    [
        (((1, 2, 3), (4, 5, 6)), {"units": "voxel"}, Box((1, 2, 3), (4, 5, 6))),
        (((1.0, 2, -3.0), (4, 5.0, 6)), {"units": "voxel"}, Box((1, 2, -3), (4, 5, 6))),
        (((7, 8, 39), (9, 17, 41)), {"units": "nm"}, Box((0, 1, 0), (2, 3, 2))),
        (((8, 8, 40), (16, 16, 80)), {"units": "nm"}, Box((1, 1, 1), (2, 2, 2))),
        (((-1, -8, -41), (0, 1, 0)), {"units": "nm"}, Box((-1, -1, -2), (0, 1, 0))),
        (((0.5, 7.5, 0), (0.5, 8.5, 1e-3)), {"units": "nm"}, Box((0, 0, 0), (1, 2, 1))),
        (((5, 4, 3), (6, 6, 4)), {"resolution": (4, 4, 40)}, Box((2, 2, 3), (3, 3, 4))),
        (((5, 4, 3), (5, 4, 3)), {"resolution": (16, 8, 40)}, Box((10, 4, 3), (10, 4, 3))),
    ],
)
def test_floor_below_and_ceil_above(corners: Any, unit: Any, box: Box) -> None:
    assert voxel_box(corners, **unit, voxel_size=(8, 8, 40)) == box
    assert voxel_box([list(c) for c in corners], **unit, voxel_size=(8, 8, 40)) == box
    assert voxel_box(np.array(corners), **unit, voxel_size=(8, 8, 40)) == box


@pytest.mark.parametrize("units", [None, "voxel"])
def test_a_box_is_voxels(units: str | None) -> None:
    box = Box((-1, 2, 3), (4, 5, 6))
    assert voxel_box(box, units=units, voxel_size=(8, 8, 40)) == box


@pytest.mark.parametrize(
    "unit",
    [{"units": "nm"}, {"resolution": (8, 8, 40)}, {"units": "voxel", "resolution": (8, 8, 40)}],
)
def test_a_box_in_other_units_is_refused(unit: Any) -> None:
    with pytest.raises(TypeError, match="a Box is in voxels"):
        voxel_box(Box((1, 2, 3), (4, 5, 6)), **unit, voxel_size=(8, 8, 40))


@pytest.mark.parametrize("unit", [{}, {"units": "nm", "resolution": (4, 4, 40)}])
def test_a_pair_needs_one_unit(unit: Any) -> None:
    with pytest.raises(TypeError, match="no default"):
        voxel_box(((1, 2, 3), (4, 5, 6)), **unit, voxel_size=(8, 8, 40))


@pytest.mark.parametrize(
    "box",
    [
        (1, 2, 3, 4, 5, 6),
        [1, 2, 3, 4, 5, 6],
        np.arange(6),
        ((1, 4), (2, 5), (3, 6)),
        np.arange(6).reshape(3, 2),
        ((1, 2, 3),),
        ((1, 2), (3, 4)),
        ((1, 2, 3), 4),
        ("123", "456"),
        (("1", "2", "3"), ("4", "5", "6")),
        ((True, 2, 3), (4, 5, 6)),
        ((1, 2, None), (4, 5, 6)),
        np.s_[1:4, 2:5, 3:6],
        5,
        None,
        "abc",
    ],
    ids=repr,
)
def test_what_is_no_pair_of_triples_is_refused(box: Any) -> None:
    for unit in ({"units": "voxel"}, {"units": "nm"}, {"resolution": (4, 4, 40)}):
        with pytest.raises(TypeError):
            voxel_box(box, **unit, voxel_size=(8, 8, 40))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_corners_are_finite(value: float) -> None:
    for corners in (((value, 0, 0), (1, 1, 1)), ((0, 0, 0), (1, value, 1))):
        with pytest.raises(ValueError, match="finite"):
            voxel_box(corners, units="nm", voxel_size=(8, 8, 40))


def test_corners_in_voxels_are_whole() -> None:
    with pytest.raises(ValueError, match="whole"):
        voxel_box(((0, 0, 0.5), (1, 1, 1)), units="voxel", voxel_size=(8, 8, 40))


def test_lower_above_upper() -> None:
    with pytest.raises(ValueError, match="above"):
        voxel_box(((0, 0, 2), (1, 1, 1)), units="voxel", voxel_size=(8, 8, 40))


def test_huge_corners_are_exact() -> None:
    corners = ((2**70 + 1, -(2**70) - 1, 1e300), (2**70 + 2, 0, 1e300))
    box = voxel_box(corners, units="nm", voxel_size=(1, 2, 40))
    assert box.lower[:2] == (2**70 + 1, -(2**69) - 1)
    assert box.upper[0] == 2**70 + 2


def test_a_float_of_a_box_is_its_decimal_form() -> None:
    box = voxel_box(((0.3, 66, 0), (0.7, 70.4, 1)), units="nm", voxel_size=(0.1, 4.4, 1))
    assert box == Box((3, 15, 0), (7, 16, 1))
