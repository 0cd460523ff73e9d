"""The caller's array as flat memory with strides, which is what kernels write to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Triple

__all__ = ["MOST_CACHED_BYTES", "FlatOutput"]

MOST_CACHED_BYTES = 32 << 20
"""Larger outputs do not stay in the caches of the processors in use."""


class FlatOutput:
    """A view of the memory of an array of axes (x, y, z) or (x, y, z, channel), of any strides.

    Parameters
    ----------
    array : ndarray, three or four axes, writeable
        Its strides must be multiples of its item size, and its memory aligned (see `fits`).

    Attributes
    ----------
    array : ndarray, four axes
    flat : ndarray, 1-D, contiguous
        From the first to the last byte of the array in memory.
    start : int
        Element of `flat` at which voxel (0, 0, 0) of channel 0 lies.
    strides : (int, int, int)
        Step from voxel to voxel along x, y, z in elements of `flat`.
    channel_stride : int
        Step from channel to channel.

    Examples
    --------
    >>> output = FlatOutput(np.zeros((4, 3, 2), np.uint64)[::-1])
    >>> output.start, output.strides
    (18, (-6, 2, 1))
    """

    __slots__ = ("array", "channel_stride", "flat", "start", "strides")
    array: NDArray[Any]
    flat: NDArray[Any]
    start: int
    strides: Triple
    channel_stride: int

    def __init__(self, array: NDArray[Any]) -> None:
        if array.ndim == 3 and array.flags.f_contiguous:
            # What most reads write to, in fewer steps than the general case.
            self.array = array[..., np.newaxis]
            self.flat = array.reshape(-1, order="F")
            self.start = 0
            x, y, z = array.shape
            self.strides = (1, x if y > 1 else 1, x * y if z > 1 else 1)
            self.channel_stride = 1
            return
        if array.ndim == 3:
            array = array[..., np.newaxis]
        steps = [
            stride // array.itemsize if length > 1 else 0
            for stride, length in zip(array.strides, array.shape, strict=True)
        ]
        reach = [abs(s) * (n - 1) for s, n in zip(steps, array.shape, strict=True)]
        lowest = tuple(
            slice(length - 1, length) if step < 0 else slice(0, 1)
            for step, length in zip(steps, array.shape, strict=True)
        )
        self.array = array
        self.flat = np.lib.stride_tricks.as_strided(
            array[lowest], shape=(1 + sum(reach),), strides=(array.itemsize,)
        )
        self.start = sum(r for r, step in zip(reach, steps, strict=True) if step < 0)
        # Along an axis of length 1 nothing is stepped; 1 lets a kernel take its contiguous path.
        x, y, z, self.channel_stride = (step or 1 for step in steps)
        self.strides = (x, y, z)

    @staticmethod
    def fits(array: NDArray[Any]) -> bool:
        """Whether kernels can write to this array directly."""
        whole_steps = all(stride % array.itemsize == 0 for stride in array.strides)
        return whole_steps and bool(array.flags.aligned) and array.dtype.isnative

    @property
    def outgrows_caches(self) -> bool:
        """Whether it is too large to stay in the caches of the processors in use."""
        return self.flat.nbytes > MOST_CACHED_BYTES

    def at(self, voxel: Triple, channel: int = 0) -> int:
        """The element of `flat` at which a voxel lies."""
        (x, y, z), (step_x, step_y, step_z) = voxel, self.strides
        return self.start + x * step_x + y * step_y + z * step_z + channel * self.channel_stride
