"""Boxes and the grid of chunks."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader.format.grid import Box, ChunkGrid

FAFB = ChunkGrid((124416, 67072, 7063), (0, 0, 0), (128, 128, 32))


def triples(least, most):
    return st.tuples(*[st.integers(least, most)] * 3)


def boxes(least, most):
    corners = st.tuples(triples(least, most), triples(least, most))
    return corners.map(
        lambda pair: Box(tuple(map(min, pair[0], pair[1])), tuple(map(max, pair[0], pair[1])))
    )


def voxels(box):
    return set(itertools.product(*(range(a, b) for a, b in zip(box.lower, box.upper, strict=True))))


grids = st.builds(ChunkGrid, triples(1, 9), triples(-15, 15), triples(1, 4))


def test_box_takes_numpy_integers_and_keeps_plain_ones():
    box = Box(np.array([1, 2, 3]), [np.uint8(4), 5, 6])
    assert box == Box((1, 2, 3), (4, 5, 6))
    assert all(type(item) is int for item in (*box.lower, *box.upper))
    assert hash(box) == hash(Box((1, 2, 3), (4, 5, 6)))


@pytest.mark.parametrize(
    "lower",
    [(0, 0), (0, 0, 0, 0), (0.0, 0, 0), (True, 0, 0), "abc", b"abc", 0, None, np.zeros((3, 1))],
)
def test_box_refuses_what_is_not_three_integers(lower):
    with pytest.raises(TypeError, match="lower corner of a Box must be"):
        Box(lower, (5, 5, 5))


def test_box_refuses_a_lower_corner_above_the_upper():
    with pytest.raises(ValueError, match=r"\(0, 0, 3\) of a Box is above its upper corner"):
        Box((0, 0, 3), (1, 1, 2))


def test_box_may_be_empty():
    box = Box((1, 2, 3), (1, 9, 9))
    assert box.is_empty
    assert box.shape == (0, 7, 6)
    assert box.voxels == 0
    assert Box((0, 0, 0), (0, 0, 0)).contains(box)


def test_box_is_immutable_and_pickles():
    box = Box((0, 0, 0), (4, 3, 2))
    with pytest.raises(AttributeError):
        box.lower = (1, 1, 1)
    assert pickle.loads(pickle.dumps(box)) == box
    assert str(box) == "(0, 0, 0) to (4, 3, 2)"


@settings(deadline=None)
@given(boxes(-4, 4), boxes(-4, 4))
def test_intersection_and_contains_are_those_of_voxel_sets(a, b):
    assert voxels(a.intersection(b)) == voxels(a) & voxels(b)
    assert a.contains(b) == (voxels(b) <= voxels(a))
    assert a.voxels == len(voxels(a))


def test_fafb_grid():
    assert FAFB.grid_size == (972, 524, 221)
    assert FAFB.bounds == Box((0, 0, 0), (124416, 67072, 7063))
    assert FAFB.cell_shape((0, 0, 0)) == (128, 128, 32)
    assert FAFB.cell_shape((971, 523, 220)) == (128, 128, 23)
    assert FAFB.cell_box((156, 92, 60)) == Box((19968, 11776, 1920), (20096, 11904, 1952))


def test_an_exact_multiple_has_no_further_cell():
    assert ChunkGrid((256, 257, 255), (0, 0, 0), (128, 128, 128)).grid_size == (2, 3, 2)


def test_a_chunk_larger_than_the_volume_is_clipped():
    grid = ChunkGrid((5, 6, 7), (-3, 0, 2), (64, 64, 64))
    assert grid.grid_size == (1, 1, 1)
    assert grid.cell_box((0, 0, 0)) == grid.bounds == Box((-3, 0, 2), (2, 6, 9))


def test_a_volume_without_voxels_has_no_cells():
    grid = ChunkGrid((5, 0, 7), (0, 0, 0), (4, 4, 4))
    assert grid.grid_size == (2, 0, 2)
    assert grid.bounds.is_empty


@settings(deadline=None)
@given(grids)
def test_cells_tile_the_volume(grid):
    seen = set()
    for cell in itertools.product(*map(range, grid.grid_size)):
        inside = voxels(grid.cell_box(cell))
        assert inside
        assert not inside & seen
        assert len(inside) == np.prod(grid.cell_shape(cell))
        seen |= inside
    assert seen == voxels(grid.bounds)


@settings(deadline=None)
@given(grids, st.data())
def test_cells_touching_a_box(grid, data):
    box = grid.bounds.intersection(data.draw(boxes(-16, 25)))
    wanted = {
        cell
        for cell in itertools.product(*map(range, grid.grid_size))
        if not grid.cell_box(cell).intersection(box).is_empty
    }
    assert voxels(grid.cells_touching(box)) == wanted


@settings(deadline=None)
@given(boxes(0, 9), st.integers(1, 5))
def test_tiles_cut_cells_at_multiples_of_the_edge(cells, edge):
    seen = set()
    for tile in FAFB.tiles(cells, edge):
        inside = voxels(tile)
        assert inside
        assert not inside & seen
        assert len({tuple(c // edge for c in cell) for cell in inside}) == 1
        seen |= inside
    assert seen == voxels(cells)


def test_coordinates_near_the_limit_of_an_info_are_exact():
    far = 2**53
    grid = ChunkGrid((7, 7, 7), (far - 7, -far, 0), (4, 4, 4))
    assert grid.cell_box((1, 1, 1)) == Box((far - 3, -far + 4, 4), (far, -far + 7, 7))
    assert grid.cells_touching(Box((far - 1, -far, 0), (far, -far + 1, 7))) == Box(
        (1, 0, 0), (2, 1, 2)
    )
