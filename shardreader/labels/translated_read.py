"""Boxes whose labels are read as something else: a mask, mapped labels, numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Box
from shardreader.labels.label_counting import LabelCounting, checked_channel, wanted_labels
from shardreader.labels.label_map import (
    ValuesOf,
    label_map_of,
    membership_in,
    numbers_in,
    values_as,
)
from shardreader.labels.translating_decoder import translating_decoder
from shardreader.reading.box_read import BoxRead, check_output, read_box

__all__ = ["read_mapped", "read_mask"]


def read_mapped(
    counting: LabelCounting,
    voxels: Box,
    out: NDArray[Any] | None,
    mapping: Any,
    dtype: Any,
    *,
    renumber: bool,
) -> Any:
    """A cutout whose labels become something else.

    Parameters
    ----------
    counting : LabelCounting
        Of the scale.
    voxels : Box
        Inside the volume.
    out, mapping, dtype, renumber
        As in `Volume.cutout`.
    """
    scale = counting.scale
    if scale.dtype.kind != "u":
        raise TypeError(f"labels of {scale.dtype} are not mapped: only unsigned ones are")
    result_type = _result_type(scale.dtype, dtype)
    label_map = None if mapping is None else label_map_of(mapping)
    channels = list(range(scale.num_channels))
    if not renumber:
        values_of = values_as(result_type, label_map)
        return _translated(counting, voxels, channels, values_of, result_type, out)
    found = [counting.counted(voxels, c, labels_only=True).tally.result()[0] for c in channels]
    labels = np.concatenate(found)
    table = np.unique(labels if label_map is None else label_map.apply(labels))
    values_of = numbers_in(table, result_type, label_map)
    result = _translated(counting, voxels, channels, values_of, result_type, out)
    return result, table if label_map is not None else table.astype(scale.dtype)


def read_mask(
    counting: LabelCounting, voxels: Box, labels: Any, channel: int | None
) -> NDArray[np.bool_]:
    """Where a box has one of some labels, as `Volume.mask`.

    Parameters
    ----------
    counting : LabelCounting
        Of the scale.
    voxels : Box
        Inside the volume.
    labels, channel
        As the user gave them.
    """
    values_of = membership_in(wanted_labels(labels, counting.scale.dtype))
    channels = [checked_channel(counting.scale, channel)]
    mask = _translated(counting, voxels, channels, values_of, np.dtype(np.uint8), None)
    return mask.view(np.bool_)


def _translated(
    counting: LabelCounting,
    voxels: Box,
    channels: list[int],
    values_of: ValuesOf,
    dtype: np.dtype[Any],
    out: NDArray[Any] | None,
) -> NDArray[Any]:
    """The voxels of a box, each as `values_of` says; in `out`, if there is one."""
    scale = counting.scale
    shape = voxels.shape if len(channels) == 1 else (*voxels.shape, len(channels))
    if out is not None:
        check_output(out, shape, dtype)
    if voxels.is_empty:
        return np.empty(shape, dtype, order="F") if out is None else out
    target = BoxRead(
        scale.grid,
        translating_decoder(counting.reader, channels, values_of),
        voxels,
        dtype,
        len(channels),
        out,
        background=lambda: int(values_of(np.zeros(1, np.uint64))[0]),
    )
    read_box(scale.source, scale.workers, target, forgive_absent=scale.forgive_absent)
    return target.result()


def _result_type(own: np.dtype[Any], dtype: Any) -> np.dtype[Any]:
    chosen = own if dtype is None else np.dtype(dtype)
    if chosen not in (own, np.uint32, np.uint64):
        raise TypeError(f"dtype must be uint32 or uint64, not {chosen}")
    return chosen
