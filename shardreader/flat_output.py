"""The caller's array as flat memory with strides, which is what kernels write to. Floor 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.grid import Triple

__all__ = ["FlatOutput"]


class FlatOutput:
    """A view of the memory of a three-dimensional array, of any strides.

    Parameters
    ----------
    array : ndarray, three axes, writeable
        Its strides must be multiples of its item size, and its memory aligned (see `fits`).

    Attributes
    ----------
    flat : ndarray, 1-D, contiguous
        From the first to the last byte of the array in memory.
    start : int
        Element of `flat` at which voxel (0, 0, 0) lies.
    strides : (int, int, int)
        Step from voxel to voxel along x, y, z in elements of `flat`.

    Examples
    --------
    >>> output = FlatOutput(np.zeros((4, 3, 2), np.uint64)[::-1])
    >>> output.start, output.strides
    (18, (-6, 2, 1))
    """

    __slots__ = ("flat", "start", "strides")
    flat: NDArray[Any]
    start: int
    strides: Triple

    def __init__(self, array: NDArray[Any]) -> None:
        steps = [
            stride // array.itemsize if length > 1 else 0
            for stride, length in zip(array.strides, array.shape, strict=True)
        ]
        lowest = tuple(
            length - 1 if step < 0 else 0 for step, length in zip(steps, array.shape, strict=True)
        )
        reach = [abs(s) * (n - 1) for s, n in zip(steps, array.shape, strict=True)]
        self.flat = np.lib.stride_tricks.as_strided(
            array[tuple(slice(low, low + 1) for low in lowest)],
            shape=(1 + sum(reach),),
            strides=(array.itemsize,),
        )
        self.start = sum(r for r, step in zip(reach, steps, strict=True) if step < 0)
        # Along an axis of length 1 nothing is stepped; 1 lets a kernel take its contiguous path.
        x, y, z = (step if step else 1 for step in steps)
        self.strides = (x, y, z)

    @staticmethod
    def fits(array: NDArray[Any]) -> bool:
        """Whether kernels can write to this array directly."""
        whole_steps = all(stride % array.itemsize == 0 for stride in array.strides)
        return whole_steps and bool(array.flags.aligned) and array.dtype.isnative

    def at(self, voxel: Triple) -> int:
        """The element of `flat` at which a voxel lies."""
        (x, y, z), (step_x, step_y, step_z) = voxel, self.strides
        return self.start + x * step_x + y * step_y + z * step_z
