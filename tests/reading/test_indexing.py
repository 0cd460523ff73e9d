from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader import Box, OutOfBoundsError
from shardreader.reading.indexing import box_of_index

BOUNDS = Box((-10, 0, 5), (10, 30, 45))
ALL = slice(None)


@pytest.mark.parametrize(
    ("index", "lower", "upper", "selection"),
    [
        (np.s_[-3:4, 1:2, 5:45], (-3, 1, 5), (4, 2, 45), (ALL, ALL, ALL)),
        (np.s_[:, :, :], BOUNDS.lower, BOUNDS.upper, (ALL, ALL, ALL)),
        (..., BOUNDS.lower, BOUNDS.upper, (ALL, ALL, ALL)),
        ((), BOUNDS.lower, BOUNDS.upper, (ALL, ALL, ALL)),
        (np.s_[:-3], BOUNDS.lower, (-3, 30, 45), (ALL, ALL, ALL)),
        (np.s_[-3:], (-3, 0, 5), BOUNDS.upper, (ALL, ALL, ALL)),
        (-1, (-1, 0, 5), (0, 30, 45), (0, ALL, ALL)),
        (np.s_[..., 7], (-10, 0, 7), (10, 30, 8), (ALL, ALL, 0)),
        (np.s_[-4, ..., 7], (-4, 0, 7), (-3, 30, 8), (0, ALL, 0)),
        (np.s_[1, 2, ..., 7], (1, 2, 7), (2, 3, 8), (0, 0, 0)),
        (np.s_[1, 2, 7, ...], (1, 2, 7), (2, 3, 8), (0, 0, 0)),
        (np.s_[1, 2:4], (1, 2, 5), (2, 4, 45), (0, ALL, ALL)),
        ((np.int8(-7), np.uint64(3), np.int32(9)), (-7, 3, 9), (-6, 4, 10), (0, 0, 0)),
        ((slice(np.int64(-7), np.uint8(3)),), (-7, 0, 5), (3, 30, 45), (ALL, ALL, ALL)),
        (np.s_[2:9:1], (2, 0, 5), (9, 30, 45), (ALL, ALL, ALL)),
    ],
)
def test_index_is_global_voxels(
    index: Any, lower: Any, upper: Any, selection: tuple[Any, ...]
) -> None:
    assert box_of_index(index, BOUNDS) == (Box(lower, upper), selection)


@pytest.mark.parametrize(
    "index",
    [
        np.s_[::2],
        np.s_[::-1],
        np.s_[::0],
        np.s_[:: np.int64(2)],
        np.s_[::1.0],
        np.s_[::True],
        True,
        np.bool_(True),
        np.array(True),
        np.s_[True:3],
        np.s_[: np.bool_(False)],
        1.0,
        np.float64(1),
        np.s_[1.0:2],
        np.s_[:2.0],
        float("nan"),
        "1",
        b"1",
        None,
        1j,
        [1, 2],
        np.array([1, 2]),
        np.array([1]),
        np.ones((20, 30, 40), dtype=bool),
        (1, [2, 3]),
        Box((0, 0, 5), (1, 1, 6)),
        np.s_[1, 2, 7, 0],
        np.s_[:, :, :, :],
        np.s_[..., ...],
        np.s_[1, ..., 2, ...],
        np.s_[1, 2, 7, 0, ...],
    ],
    ids=repr,
)
def test_refused(index: Any) -> None:
    with pytest.raises(TypeError):
        box_of_index(index, BOUNDS)


@pytest.mark.parametrize(
    "index",
    [-11, 10, np.s_[-11:0], np.s_[0:11], np.s_[:, -1], np.s_[:, 30], np.s_[..., 4], np.s_[..., 45]]
    + [np.s_[:11], np.s_[-11:], np.s_[:, :31], np.s_[..., 4:6], 2**70, -(2**70)],
)
def test_outside_is_an_index_error_that_explains_negative_indices(index: Any) -> None:
    with pytest.raises(OutOfBoundsError, match="do not count from the end") as error:
        box_of_index(index, BOUNDS)
    assert isinstance(error.value, IndexError)


@pytest.mark.parametrize("index", [np.s_[3:2], np.s_[:, 5:-1], np.s_[..., 9:8]])
def test_a_start_after_its_stop_is_no_empty_box(index: Any) -> None:
    with pytest.raises(ValueError, match="after its stop"):
        box_of_index(index, BOUNDS)


@pytest.mark.parametrize("at", [-10, 0, 10])
def test_empty(at: int) -> None:
    box, selection = box_of_index(np.s_[at:at], BOUNDS)
    assert box == Box((at, 0, 5), (at, 30, 45))
    assert selection == (ALL, ALL, ALL)


def test_channels_are_a_fourth_axis() -> None:
    assert box_of_index(np.s_[1, 2, 7, 1], BOUNDS, 3)[1] == (0, 0, 0, 1)
    assert box_of_index(np.s_[..., 1:], BOUNDS, 3) == (BOUNDS, (ALL, ALL, ALL, slice(1, 3)))
    with pytest.raises(OutOfBoundsError):
        box_of_index(np.s_[..., 3], BOUNDS, 3)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_as_numpy_with_shifted_coordinates(data: st.DataObject) -> None:
    lower = data.draw(st.tuples(*[st.integers(-9, 9)] * 3))
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    bounds = Box(lower, tuple(o + n for o, n in zip(lower, array.shape, strict=True)))
    items, expected = [], []
    for first, length in zip(lower, array.shape, strict=True):
        a, b = sorted(data.draw(st.tuples(*[st.integers(0, length)] * 2)))
        if data.draw(st.booleans()) and a < length:
            items.append(first + a)
            expected.append(a)
        else:
            items.append(slice(first + a, first + b))
            expected.append(slice(a, b))
    box, selection = box_of_index(tuple(items), bounds)
    part = tuple(slice(a - o, b - o) for a, b, o in zip(box.lower, box.upper, lower, strict=True))
    np.testing.assert_array_equal(array[part][selection], array[tuple(expected)])
