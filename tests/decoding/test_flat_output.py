from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import Layout

from shardreader.decoding.flat_output import FlatOutput

layouts = st.builds(
    Layout,
    axes=st.permutations((0, 1, 2)).map(tuple),
    steps=st.tuples(*[st.integers(1, 3)] * 3),
    reversed=st.tuples(*[st.booleans()] * 3),
    gap_bytes=st.sampled_from([0, 8, 16]),
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(layouts, st.tuples(*[st.integers(1, 4)] * 3), st.sampled_from(["u4", "u8"]))
def test_each_voxel_has_its_own_element(
    layout: Layout, shape: tuple[int, int, int], dtype: str
) -> None:
    array = layout.array(shape, dtype)
    assert FlatOutput.fits(array)
    array[...] = np.arange(array.size).reshape(shape)
    output = FlatOutput(array)
    x, y, z = output.strides
    for voxel in product(*map(range, shape)):
        at = output.start + voxel[0] * x + voxel[1] * y + voxel[2] * z
        assert output.at(voxel) == at
        assert output.flat[at] == array[voxel]
    assert output.flat.flags.c_contiguous
    assert np.shares_memory(output.flat, array)
    first = min(x, 0) * (shape[0] - 1) + min(y, 0) * (shape[1] - 1) + min(z, 0) * (shape[2] - 1)
    last = max(x, 0) * (shape[0] - 1) + max(y, 0) * (shape[1] - 1) + max(z, 0) * (shape[2] - 1)
    assert output.start + first == 0
    assert output.start + last == len(output.flat) - 1


def test_writes_reach_the_array() -> None:
    array = np.zeros((3, 4, 5), np.uint64)[::-1, ::2]
    output = FlatOutput(array)
    output.flat[output.at((2, 1, 4))] = 9
    assert array[2, 1, 4] == 9
    assert np.count_nonzero(array) == 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (4, 1, 3)])
def test_axes_of_one_voxel_let_a_kernel_take_rows(shape: tuple[int, int, int]) -> None:
    array = (
        np.broadcast_to(np.zeros(1, np.uint64), (1, 1, 1))
        if shape == (1, 1, 1)
        else np.zeros(shape, np.uint64)
    )
    output = FlatOutput(array)
    assert all(s == 1 for s, n in zip(output.strides, shape, strict=True) if n == 1)
    assert output.flat.size == array.size


@pytest.mark.parametrize("gap_bytes", [1, 2, 3, 4, 7, 9])
def test_steps_that_are_no_whole_items_do_not_fit(gap_bytes: int) -> None:
    assert not FlatOutput.fits(Layout(gap_bytes=gap_bytes).array((2, 3, 4), np.uint64))


def test_an_unaligned_start_does_not_fit() -> None:
    array = np.zeros(2 * 3 * 4 * 8 + 1, np.uint8)[1:].view(np.uint64).reshape(2, 3, 4)
    assert not FlatOutput.fits(array)


def test_foreign_byte_order_does_not_fit() -> None:
    assert not FlatOutput.fits(np.zeros((2, 3, 4), np.dtype(np.uint64).newbyteorder("S")))
