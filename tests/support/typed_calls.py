"""What a type checker knows of the answers of a `Volume`; checked by mypy, never run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

from shardreader import Box, Volume

Labels = NDArray[Any]
Counts = NDArray[np.int64]
Status = NDArray[np.uint8]


def cutouts(vol: Volume, box: Box, flag: bool) -> None:
    assert_type(vol.cutout(box), Labels)
    assert_type(vol.cutout(box, mapping={1: 2}, dtype="uint32"), Labels)
    assert_type(vol.cutout(box, renumber=True), tuple[Labels, Labels])
    assert_type(vol.cutout(box, renumber=flag), Labels | tuple[Labels, Labels])


def points(vol: Volume, flag: bool) -> None:
    assert_type(vol.lookup([[1, 2, 3]], units="voxel"), Labels)
    assert_type(vol.lookup([[1, 2, 3]], units="nm", return_status=True), tuple[Labels, Status])
    assert_type(
        vol.lookup([[1, 2, 3]], units="nm", return_status=flag), Labels | tuple[Labels, Status]
    )


def counts(vol: Volume, box: Box, flag: bool) -> None:
    assert_type(vol.labels(box), Labels)
    assert_type(vol.labels(box, return_unseen=True), tuple[Labels, int])
    assert_type(vol.labels(box, return_unseen=flag), Labels | tuple[Labels, int])
    assert_type(vol.label_counts(box), tuple[Labels, Counts])
    assert_type(vol.label_counts(box, return_unseen=True), tuple[Labels, Counts, int])
    assert_type(vol.bounding_boxes(box, [7]), tuple[Labels, Counts])
    assert_type(vol.bounding_boxes(box, return_unseen=True), tuple[Labels, Counts, int])


def wrong(vol: Volume, box: Box) -> None:
    """Each of these is an error for mypy; an ignore that is not needed is one too."""
    vol.lookup([[1, 2, 3]], units="voxel", return_status=7)  # type: ignore[call-overload]
    vol.cutout(box, renumber="yes")  # type: ignore[call-overload]
    vol.labels(box, return_counts=True)  # type: ignore[call-overload]
