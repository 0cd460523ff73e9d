"""The compressed Morton code against hand-computed values and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader.format.morton import cells_of_chunk_ids, chunk_ids_of_cells, morton_bits

FAFB_GRID = (972, 524, 221)
# The worked example of volume.md: x has 16 bits, y 14, z 24.
SPECIFICATION_GRID = (42943, 1 << 14, 1 << 24)


def loop_code(cell, grid_size):
    """The definition in the specification, one bit after another, on Python integers."""
    code = output_bit = 0
    for i in range(64):
        for dim in range(3):
            if 2**i < grid_size[dim]:
                code += (cell[dim] // 2**i % 2) * 2**output_bit
                output_bit += 1
    return code


def code(cell, grid_size):
    (chunk_id,) = chunk_ids_of_cells(np.array([cell]), grid_size).tolist()
    return chunk_id


@st.composite
def grid_and_cells(draw):
    """Any grid whose code has up to 64 bits, and some of its cells."""
    bits = draw(st.tuples(*[st.integers(0, 53)] * 3).filter(lambda widths: sum(widths) <= 64))
    grid_size = tuple(draw(st.integers((1 << b >> 1) + 1, 1 << b)) for b in bits)
    cells = draw(
        st.lists(st.tuples(*[st.integers(0, g - 1) for g in grid_size]), min_size=1, max_size=20)
    )
    return grid_size, cells


def test_number_of_bits():
    assert morton_bits(FAFB_GRID) == 10 + 10 + 8
    assert morton_bits(SPECIFICATION_GRID) == 16 + 14 + 24
    assert morton_bits((1, 1, 1)) == 0
    assert morton_bits((2, 1, 1)) == 1
    assert morton_bits((3, 2, 1)) == 3
    assert morton_bits((1 << 22, 1 << 21, 1 << 21)) == 64


@pytest.mark.parametrize(
    ("cell", "bit"),
    [
        # Read off the diagrams of volume.md, where four bits stand in a group.
        ((0x0001, 0, 0), 0),
        ((0, 0x0001, 0), 1),
        ((0, 0, 0x0001), 2),
        ((0x0002, 0, 0), 3),
        ((0x2000, 0, 0), 39),
        ((0, 0x2000, 0), 40),
        ((0, 0, 0x2000), 41),
        # y has dropped out
        ((0x4000, 0, 0), 42),
        ((0, 0, 0x4000), 43),
        ((0x8000, 0, 0), 44),
        ((0, 0, 0x8000), 45),
        # z alone
        ((0, 0, 1 << 16), 46),
        ((0, 0, 1 << 23), 53),
    ],
)
def test_worked_example_of_the_specification(cell, bit):
    assert code(cell, SPECIFICATION_GRID) == 1 << bit


@pytest.mark.parametrize(
    ("cell", "chunk_id"),
    [
        # x 3 = 011, y 5 = 101, z 1 = 1 in a grid of 3, 3 and 1 bits:
        # z0 y0 x0 = 111, y1 x1 = 01, y2 x2 = 10, read from the low end: 10 01 111
        ((3, 5, 1), 0b1001111),
        ((0, 0, 0), 0),
        ((7, 7, 1), 0b1111111),
        ((4, 0, 0), 0b0100000),
    ],
)
def test_by_hand_where_z_drops_out_first(cell, chunk_id):
    assert code(cell, (8, 8, 2)) == chunk_id


def test_an_axis_of_one_cell_takes_no_bit():
    assert code((3, 5, 0), (4, 8, 1)) == 0b10111
    assert code((0, 5, 0), (1, 8, 1)) == 5


def test_a_bit_is_there_only_if_it_is_below_the_grid_size():
    # 2**2 < 5 needs a third bit for cell 4; a grid of 4 does not.
    assert morton_bits((5, 1, 1)) == 3
    assert morton_bits((4, 1, 1)) == 2


def test_fafb_by_hand():
    # x 156 = 0010011100, y 92 = 0001011100, z 60 = 00111100; zyx triples from bit 0:
    # 000 000 111 111 111 100 010 001, then yx pairs 00 00.
    expected = int("0000001010100111111111000000", 2)
    assert code((156, 92, 60), FAFB_GRID) == expected == 2785216
    # The last cell: x 971 = 1111001011, y 523 = 1000001011, z 220 = 11011100.
    last = int("1101101101000100111100011011", 2)
    assert code((971, 523, 220), FAFB_GRID) == last
    # A minishard of 2**9 chunks is a cube of 8, a shard of 2**15 one of 32.
    assert code((8, 0, 0), FAFB_GRID) == 1 << 9
    assert code((32, 0, 0), FAFB_GRID) == 1 << 15
    # Above the 8 bits of z, x and y alternate.
    assert code((0, 0, 128), FAFB_GRID) == 1 << 23
    assert code((256, 0, 0), FAFB_GRID) == 1 << 24
    assert code((0, 256, 0), FAFB_GRID) == 1 << 25
    assert code((0, 512, 0), FAFB_GRID) == 1 << 27


def test_every_cell_of_small_grids_against_the_loop():
    for grid_size in [(1, 1, 1), (2, 3, 4), (5, 1, 9), (1, 8, 3), (7, 6, 2), (1, 1, 17)]:
        cells = np.argwhere(np.ones(grid_size))
        ids = chunk_ids_of_cells(cells, grid_size)
        assert ids.tolist() == [loop_code(cell, grid_size) for cell in cells.tolist()]
        assert len(set(ids.tolist())) == len(cells)
        back, inside = cells_of_chunk_ids(ids, grid_size)
        assert inside.all()
        assert (back == cells).all()


def test_every_id_of_small_grids_is_inside_only_if_a_cell_has_it():
    for grid_size in [(2, 3, 4), (5, 1, 9), (1, 1, 1)]:
        bits = morton_bits(grid_size)
        ids = np.arange(4 << bits, dtype=np.uint64)
        _, inside = cells_of_chunk_ids(ids, grid_size)
        there = chunk_ids_of_cells(np.argwhere(np.ones(grid_size)), grid_size)
        assert ids[inside].tolist() == sorted(there.tolist())


@settings(deadline=None)
@given(grid_and_cells())
def test_any_bit_plan_against_the_loop_and_back(plan):
    grid_size, cells = plan
    ids = chunk_ids_of_cells(np.array(cells, dtype=np.int64), grid_size)
    assert ids.dtype == np.uint64
    assert ids.tolist() == [loop_code(cell, grid_size) for cell in cells]
    back, inside = cells_of_chunk_ids(ids, grid_size)
    assert back.dtype == np.int64
    assert back.tolist() == [list(cell) for cell in cells]
    assert inside.all()


@settings(deadline=None)
@given(grid_and_cells(), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_any_id_is_inside_only_if_it_is_the_code_of_its_cell(plan, ids):
    grid_size, _ = plan
    cells, inside = cells_of_chunk_ids(np.array(ids, dtype=np.uint64), grid_size)
    for chunk_id, cell, is_inside in zip(ids, cells.tolist(), inside.tolist(), strict=True):
        in_grid = all(0 <= c < g for c, g in zip(cell, grid_size, strict=True))
        assert is_inside == (in_grid and loop_code(cell, grid_size) == chunk_id)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_cells_of_any_integer_type(dtype):
    cells = np.array([[3, 5, 1], [7, 0, 1]], dtype=dtype)
    assert chunk_ids_of_cells(cells, (8, 8, 2)).tolist() == [0b1001111, 0b0101101]


def test_no_cells():
    assert chunk_ids_of_cells(np.zeros((0, 3), dtype=np.int64), FAFB_GRID).shape == (0,)
    cells, inside = cells_of_chunk_ids(np.zeros(0, dtype=np.uint64), FAFB_GRID)
    assert cells.shape == (0, 3)
    assert inside.shape == (0,)


def test_sixty_four_bits():
    grid_size = (1 << 22, 1 << 21, 1 << 21)
    last = tuple(g - 1 for g in grid_size)
    assert code(last, grid_size) == 2**64 - 1
    cells, inside = cells_of_chunk_ids(np.array([2**64 - 1], dtype=np.uint64), grid_size)
    assert cells.tolist() == [list(last)]
    assert inside.all()
