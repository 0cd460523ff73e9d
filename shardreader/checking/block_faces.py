"""Whether the declared block size is the one that the data was written with.

Another block size of the same volume (8 8 8 for 16 16 2) passes every check of the structure, and
gives wrong labels: blocks go to other places, and their voxels into other rows. Labels that are put
together so break, mostly at the faces of the declared blocks. What breaks there may be the data
itself, because regions with straight edges and labels that were enlarged change at a few planes
only. So the same chunks are read with every other block size of that volume too. The declared one
is wrong only where another reads them without the break.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import gcd, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Triple
from shardreader.runtime.compile_lock import compiling

__all__ = ["BlockReading", "better_reading", "block_sizes_of_volume", "worth_going_on"]

# The thresholds were chosen on volumes like those of `python -m bench.block_faces`, which measures
# both error rates. There the right block size gives fewer changes than any wrong one, but for
# labels whose sections hardly resemble each other.
_SMOOTHER, _SMOOTHER_MEAN, _MEAN_SHARE = 0.8, 0.95, 0.01
_FAR_SMOOTHER = 0.25
# Standard deviations of the difference of two counts; changes at faces come in patches.
_DEVIATIONS, _PATCH_DEVIATIONS = 4, 16
# About as many changes: then the faces of one size must break, and those of the other not.
_ABOUT_AS_MANY = 1.15
_MORE_BROKEN, _MUCH_MORE_BROKEN = 1.2, 2.0
_FEW_CHANGES, _FEW_SHARE = 16, 0.005
# Faces that change so often, and inner planes that do not, are labels made block by block.
_FACE_RATIO = 1.45
_MANY_FACES, _NEARLY_ALL_FACES = 0.25, 0.75
# Labels that change along one axis only are slabs, and slabs of one thickness are slabs of another
# in blocks of another shape.
_SECOND_AXIS, _THIRD_AXIS = 0.05, 0.02
_EQUAL = 1e-4
# Beyond these a size cannot come out as the better one any more.
_HOPELESS, _LEAST_CHANGES = 1.5, 4096
# Real blocks are no needles; a volume of many prime factors has thousands of shapes.
_MOST_SIZES = 128
_LONGEST_BLOCK = 8


class BlockReading:
    """Where the labels of some chunks change, if they are read with one block size.

    Parameters
    ----------
    block_size : (int, int, int)
    chunk_size : (int, int, int)
        No part of a chunk that is added is larger.
    """

    def __init__(self, block_size: Triple, chunk_size: Triple) -> None:
        self.block_size = block_size
        self._changes = [np.zeros(extent - 1, dtype=np.int64) for extent in chunk_size]
        self._pairs = [np.zeros(extent - 1, dtype=np.int64) for extent in chunk_size]

    def add(self, labels: NDArray[Any]) -> None:
        """Add a part of a chunk, of shape (x, y, z), whose first voxel is the chunk's."""
        with compiling:
            from shardreader.checking.block_face_kernels import count_changes  # numba

        x, y, z = labels.shape
        flat = labels.reshape(-1, order="F").astype(np.uint64, copy=False)
        for axis, changes in enumerate(count_changes(flat, (x, y, z))):
            self._changes[axis][: len(changes)] += changes
            self._pairs[axis][: len(changes)] += labels.size // labels.shape[axis]

    @property
    def changes(self) -> int:
        """Pairs of neighbours whose labels differ."""
        return sum(self.along_each)

    @property
    def along_each(self) -> Triple:
        """Those along x, y and z."""
        x, y, z = (int(changes.sum()) for changes in self._changes)
        return x, y, z

    def across(self, axis: int, block_length: int) -> int:
        """Those across the faces of blocks of this length along an axis."""
        return int(self._changes[axis][block_length - 1 :: block_length].sum())

    def rates(self, axis: int, spacing: int) -> tuple[float, float] | None:
        """The share of pairs that differ, across block faces and across inner planes.

        Parameters
        ----------
        spacing : int
            Of the inner planes: the positions in a chunk that are its multiples and no faces.

        Returns
        -------
        (float, float) or None
            None where there are no faces, or no such inner planes.
        """
        changes, pairs = self._changes[axis], self._pairs[axis]
        at = np.arange(1, len(changes) + 1)
        is_face = at % self.block_size[axis] == 0
        is_inner = ~is_face & (at % spacing == 0)
        face_pairs, inner_pairs = int(pairs[is_face].sum()), int(pairs[is_inner].sum())
        if not face_pairs or not inner_pairs:
            return None
        return int(changes[is_face].sum()) / face_pairs, int(changes[is_inner].sum()) / inner_pairs

    def compared(self, axis: int) -> tuple[float, float, bool] | None:
        """As `rates`, with inner planes that an enlarged volume may change at as at the faces.

        Labels that were enlarged by 2 or 4 change at multiples of 2 or 4 only. Where faces are
        such multiples, and every one is a face, the inner planes are of lower multiples, and the
        third value is False.
        """
        length = self.block_size[axis]
        for factor in (4, 2, 1):
            rates = self.rates(axis, gcd(length, factor))
            if rates is not None:
                return *rates, factor == 4
        return None


def block_sizes_of_volume(block_size: Triple, chunk_size: Triple) -> list[Triple]:
    """Other block sizes of as many voxels, those nearest to a cube first.

    Examples
    --------
    >>> block_sizes_of_volume((4, 1, 1), (8, 8, 1))
    [(2, 2, 1), (2, 1, 2), (1, 2, 2), (1, 4, 1), (1, 1, 4)]
    """
    most = [max(extent, _LONGEST_BLOCK) for extent in chunk_size]
    volume = prod(block_size)
    sizes = [
        (x, y, volume // (x * y))
        for x in _divisors(volume, most[0])
        for y in _divisors(volume // x, most[1])
        if volume // (x * y) <= most[2]
    ]
    sizes.sort(key=lambda size: (max(size) / min(size), -size[0], -size[1]))
    return [size for size in sizes if size != block_size][:_MOST_SIZES]


def _divisors(number: int, most: int) -> Iterator[int]:
    return (n for n in range(1, min(number, most) + 1) if number % n == 0)


def worth_going_on(declared: BlockReading, others: Iterable[BlockReading]) -> list[BlockReading]:
    """The readings that may still turn out to be better than the declared one."""
    others = list(others)
    fewest = min(reading.changes for reading in (declared, *others))
    most = max(_HOPELESS * fewest, _LEAST_CHANGES)
    return [other for other in others if other.changes <= most]


def better_reading(declared: BlockReading, others: Iterable[BlockReading]) -> BlockReading | None:
    """The reading of the same chunks that shows that the declared block size is wrong.

    Parameters
    ----------
    declared : BlockReading
    others : iterable of BlockReading
        With other block sizes of the same volume.

    Returns
    -------
    BlockReading or None
        None where nothing shows it.
    """
    says_little = _says_little(declared)
    better = [other for other in others if _is_better(other, declared, says_little=says_little)]
    return min(better, key=lambda reading: reading.changes, default=None)


def _is_better(other: BlockReading, declared: BlockReading, *, says_little: bool) -> bool:
    is_far_smoother = other.changes < _FAR_SMOOTHER * declared.changes
    if not is_far_smoother:
        if says_little or _breaks(other):
            return False
    elif says_little and min(other.along_each) < _THIRD_AXIS * other.changes:
        return False
    return _is_smoother(other, declared) or _breaks_less(other, declared)


def _says_little(reading: BlockReading) -> bool:
    """Whether labels change along one axis only, or at the block faces exactly as elsewhere."""
    total = reading.changes
    if sorted(reading.along_each)[1] <= _SECOND_AXIS * total:
        return True
    compared = [
        rates
        for axis, along in enumerate(reading.along_each)
        if along >= _SECOND_AXIS * total and (rates := reading.compared(axis)) is not None
    ]
    equal = [abs(face - inner) <= _EQUAL * max(face, inner) for face, inner, _ in compared]
    return bool(equal) and all(equal)


def _is_smoother(other: BlockReading, declared: BlockReading) -> bool:
    """Whether labels change so much less often that chance is no reason."""
    few, many = other.changes, declared.changes
    if few >= _SMOOTHER * many or many - few <= _DEVIATIONS * sqrt(many + few):
        return False
    return _mean_share(other, declared) < _SMOOTHER_MEAN


def _mean_share(other: BlockReading, declared: BlockReading) -> float:
    """The changes of a reading as a share of the declared one's, the geometric mean of the axes.

    Wrong blocks may turn an axis of many changes into one of few: then the sum says less.
    """
    least = _MEAN_SHARE * max(other.changes, declared.changes)
    pairs = zip(other.along_each, declared.along_each, strict=True)
    return prod((a + least) / (b + least) for a, b in pairs) ** (1 / 3)


def _breaks_less(other: BlockReading, declared: BlockReading) -> bool:
    """Whether the declared faces break where the other reading does not, far more than back."""
    if other.changes >= _ABOUT_AS_MANY * declared.changes:
        return False
    is_uneven = _mean_share(other, declared) >= _SMOOTHER_MEAN
    there, is_no_chance = _break(declared, other)
    back, _ = _break(other, declared)
    return is_no_chance and there >= (_MUCH_MORE_BROKEN if is_uneven else _MORE_BROKEN) * back


def _break(reading: BlockReading, other: BlockReading) -> tuple[float, bool]:
    """How much more often labels change across the faces of a reading than there in another.

    Along the axis where it is most; and whether so many faces were seen that it is no chance.
    """
    least = _FEW_CHANGES + _FEW_SHARE * max(reading.changes, other.changes)
    breaks = []
    for axis, length in enumerate(reading.block_size):
        here, there = reading.across(axis, length), other.across(axis, length)
        is_no_chance = here - there > _PATCH_DEVIATIONS * sqrt(here + there)
        breaks.append(((here + least) / (there + least), is_no_chance))
    return max(breaks)


def _breaks(reading: BlockReading) -> bool:
    """Whether labels change across most faces along some axis, and far less often inside.

    An axis without inner planes of the faces' parity counts where no other axis can be compared.
    """
    is_uneven = is_even = False
    for axis, along in enumerate(reading.along_each):
        rates = reading.compared(axis)
        if rates is None:
            continue
        face, inner, is_same_parity = rates
        is_more = face > _FACE_RATIO * inner
        if not is_same_parity:
            is_uneven |= is_more and face >= _NEARLY_ALL_FACES
        elif is_more and face >= _MANY_FACES:
            return True
        else:
            is_even |= not is_more and along >= _SECOND_AXIS * reading.changes
    return is_uneven and not is_even
