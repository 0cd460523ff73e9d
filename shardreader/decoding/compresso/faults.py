"""What the kernels of compresso find wrong, and how it is said. Loads no numba."""

from __future__ import annotations

from shardreader.errors import FormatFault
from shardreader.format.grid import Triple

__all__ = [
    "ESCAPE",
    "LOCATIONS_CUT",
    "LOCATIONS_LEFT",
    "NEIGHBOUR",
    "OK",
    "WINDOWS_CUT",
    "WINDOWS_LEFT",
    "WINDOW_NUMBER",
    "WINDOW_RUN",
    "explain",
]

# A status is one of these plus 16 times the number of a window, a voxel or a slice.
OK = 0
WINDOW_RUN = 1
WINDOW_NUMBER = 2
WINDOWS_LEFT = 3
WINDOWS_CUT = 4
LOCATIONS_CUT = 5
LOCATIONS_LEFT = 6
NEIGHBOUR = 7

# Of the codes in the locations, 0 to 5 name a neighbour; behind this one stands a label as it is.
# Larger ones are labels plus this plus 1.
ESCAPE = 6


def explain(status: int, shape: Triple, first_slice: int) -> FormatFault:
    """The fault that a status stands for.

    Parameters
    ----------
    status : int
        As a kernel returned it; not `OK`.
    shape : (int, int, int)
        Voxels of the chunk.
    first_slice : int
        The first slice that the kernel was given.

    Examples
    --------
    >>> print(explain(NEIGHBOUR + 16 * 5, (4, 4, 2), 1))
    location of voxel (1, 1, 1) of the chunk: expected the code of a neighbour in the chunk (in \
the slice, with a z index) that is no boundary, found another
    """
    code, number = status % 16, status // 16
    if code == WINDOW_RUN:
        expected = "a run of 1 window or more, not beyond the chunk"
        return FormatFault(f"window code {number}", expected=expected, found="another")
    if code == WINDOW_NUMBER:
        expected = "the number of one of the window values"
        return FormatFault(f"window code {number}", expected=expected, found="a larger one")
    if code == WINDOWS_LEFT:
        expected = f"the end at code {number}, where the chunk is full"
        return FormatFault("windows of the compresso stream", expected=expected, found="more")
    if code == WINDOWS_CUT:
        expected = "windows for the whole chunk"
        return FormatFault(
            "windows of the compresso stream", expected=expected, found=f"{number} windows"
        )
    if code == LOCATIONS_LEFT:
        expected = f"to be used up at the end of slice {first_slice + number}"
        return FormatFault("locations of the compresso stream", expected=expected, found="more")
    voxel = (
        number % shape[0],
        number // shape[0] % shape[1],
        number // (shape[0] * shape[1]) + first_slice,
    )
    what = f"location of voxel {voxel} of the chunk"
    if code == LOCATIONS_CUT:
        return FormatFault(what, expected="a code or a label", found="the end of the locations")
    if code == NEIGHBOUR:
        expected = (
            "the code of a neighbour in the chunk (in the slice, with a z index) that is no "
            "boundary"
        )
        return FormatFault(what, expected=expected, found="another")
    raise ValueError(f"{status} is not the status of a fault")
