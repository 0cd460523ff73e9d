"""What the kernels can find wrong with one slice, and how it is told to a person.

A kernel's status is 0, or one of these codes plus 16 times a number that belongs to it.
"""

from __future__ import annotations

from shardreader.errors import FormatFault

__all__ = ["OK", "explain"]

OK = 0
CHAIN_INDEX = 1
CHAIN_START = 2
CODE_CUT = 3
CODE_LEFT_OVER = 4
CRACK_OUTSIDE = 5
BRANCHES = 6
MODEL_ROW = 7
COMPONENTS = 8
CRC = 9
PINS_DISAGREE = 10

_WORDS = {
    CHAIN_INDEX: ("index of the chains", "{0} bytes, as it says of itself", "others"),
    CHAIN_START: ("start of a chain", "a vertex of the slice", "one outside of it"),
    CODE_CUT: ("crack code", "moves until all chains have ended", "its end before, at byte {1}"),
    CODE_LEFT_OVER: ("crack code", "no bytes after the last chain", "{1} of them"),
    CRACK_OUTSIDE: ("crack code", "cracks between two voxels of the slice", "one that is not"),
    BRANCHES: ("crack code", "no more open branches than the slice has cracks", "more"),
    MODEL_ROW: ("Markov model", "one of the 24 orders of moves in each row", "number {1}"),
    COMPONENTS: ("connected components", "{0}, as the labels section says", "{1}"),
    CRC: ("CRC-32C of the connected components", "{0:#010x} as stored", "{1:#010x}"),
    PINS_DISAGREE: ("pins", "one label for each component", "two for component {1} of the chunk"),
}


def explain(status: int, z: int, expected: int) -> FormatFault:
    """Say in words what is wrong with a slice.

    Parameters
    ----------
    status : int
        What the kernel noted of the slice; not 0.
    z : int
        Number of the slice in its chunk.
    expected : int
        What the number of the status should be, for those that compare it.

    Examples
    --------
    >>> print(explain(COMPONENTS + 16 * 5, 3, 4).found)
    5
    """
    code, number = status % 16, status // 16
    what, wanted, found = _WORDS[code]
    return FormatFault(
        f"{what} of slice z={z}",
        expected=wanted.format(expected, number),
        found=found.format(expected, number),
    )
