"""What a segment index has to say, from decoded voxels and numpy alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import shardreader
from shardreader import Box, Segment, Volume

Triple = tuple[int, int, int]


def copied(written: Path, parent: Path) -> Path:
    """A link to a volume in a directory of its own, so that an index beside it is the test's."""
    path = parent / written.name
    path.mkdir()
    for entry in written.iterdir():
        (path / entry.name).symlink_to(entry.resolve())
    return path


def counts_by_cell(volume: Volume, voxels: NDArray[Any], lower: Triple) -> dict[int, Any]:
    """For each label the voxels in each cell that has some; `voxels` begin at `lower`."""
    found: dict[int, dict[Triple, int]] = {}
    grid = volume.scale.grid
    upper = tuple(a + n for a, n in zip(lower, voxels.shape, strict=True))
    cells = grid.cells_touching(Box(lower, upper))
    for cell in itertools.product(*map(range, cells.lower, cells.upper)):
        box = grid.cell_box(cell)
        part = zip(box.lower, box.upper, lower, strict=True)
        inside = voxels[tuple(slice(max(a - o, 0), b - o) for a, b, o in part)]
        labels, counts = np.unique(inside[inside != 0], return_counts=True)
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
            found.setdefault(label, {})[cell] = count
    return found


def said_by_cell(segment: Segment) -> dict[Triple, int]:
    """The same for one segment, as the index says."""
    cells = [(x, y, z) for x, y, z in segment.cells.tolist()]
    assert len(set(cells)) == len(cells)
    return dict(zip(cells, segment.chunk_voxels.tolist(), strict=True))


def check_totals(volume: Volume, truth: dict[int, Any]) -> None:
    """Hold the table of all segments to the truth."""
    totals = {label: sum(cells.values()) for label, cells in truth.items()}
    table = volume.segments(min_voxels=1)
    expected = sorted(totals, key=lambda label: (-totals[label], label))
    assert table.labels.tolist() == expected
    assert table.labels.dtype == volume.dtype
    assert table.voxel_counts.tolist() == [totals[label] for label in expected]
    if totals:
        least = sorted(totals.values())[len(totals) // 2]
        large = volume.segments(min_voxels=least)
        assert large.labels.tolist() == [n for n in expected if totals[n] >= least]


def check_segments(volume: Volume, truth: dict[int, Any]) -> None:
    """Hold what the index says of each segment to the truth."""
    for label, cells in truth.items():
        segment = volume.segment(label)
        assert said_by_cell(segment) == cells
        assert segment.voxel_count == sum(cells.values())
        assert segment.volume_nm3 == segment.voxel_count * np.prod(volume.resolution)
        corners = np.array(list(cells))
        grid = volume.scale.grid
        assert (
            segment.chunk_bounds.lower == grid.cell_box(tuple(corners.min(axis=0).tolist())).lower
        )
        assert (
            segment.chunk_bounds.upper == grid.cell_box(tuple(corners.max(axis=0).tolist())).upper
        )


def check_voxels(
    volume: Volume, voxels: NDArray[Any], lower: Triple, labels: Iterable[int]
) -> None:
    """Hold what is read of some segments to the voxels, which begin at `lower`."""
    for label in labels:
        segment = volume.segment(label)
        expected = np.argwhere(voxels == label) + np.array(lower)
        found = np.concatenate(list(segment.voxels()))
        assert found.dtype == np.int64
        order, other = np.lexsort(expected.T), np.lexsort(found.T)
        assert np.array_equal(found[other], expected[order])
        box = Box(tuple(expected.min(axis=0).tolist()), tuple((expected.max(axis=0) + 1).tolist()))
        assert segment.bounding_box() == box
        inside = tuple(np.array(segment.representative_voxel) - np.array(lower))
        assert voxels[inside] == label
        part = tuple(
            slice(a - o, b - o) for a, b, o in zip(box.lower, box.upper, lower, strict=True)
        )
        assert np.array_equal(segment.mask(box), voxels[part] == label)


def built(path: Path, **options: Any) -> shardreader.IndexReport:
    """Build an index on one thread; hold its report to the index."""
    report = shardreader.build_index(path, threads=1, **options)
    with shardreader.open_volume(path, options.get("scale"), index=options.get("out")) as volume:
        table = volume.segments(min_voxels=1)
        assert (len(table.labels), int(table.voxel_counts.sum())) == (
            report.segments,
            report.voxels,
        )
        assert table.coverage == report.coverage
        assert report.ok == table.coverage.is_complete
    return report
