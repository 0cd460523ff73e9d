"""fafbseg's questions, asked of a copy on disk.

fafbseg's ``use_local_data(path)`` is gone, and its web service answers from one release of the
segmentation; here the ids are those of the copy. Coordinates are of the copy's own space: that of
FAFB-FFN1 is FAFB14, CATMAID's. Coordinates of FlyWire (FAFB14.1) have to be transformed first, for
example with ``fafbseg.xform.flywire_to_fafb14``.

fafbseg's ``GSPointLoader`` takes a `Volume` as it is; see docs/recipes.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import InvalidPointError, OutOfBoundsError, PointStatus
from shardreader.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["locs_to_segments", "neuron_to_segments"]

Size = tuple[float, float, float]

# What fafbseg calls a unit, as the size of one in nm.
_COORDINATES: dict[str, Size] = {"voxel": (4, 4, 40), "nm": (1, 1, 1)}
# Counts of a table of segments x skeletons: 2 GiB.
_TABLE_LIMIT = 1 << 28


def locs_to_segments(
    locs: Any, coordinates: str, *, vol: Volume, return_status: bool = False
) -> Any:
    """The segment at each location, as ``fafbseg.google.locs_to_segments`` gives it.

    Parameters
    ----------
    locs : array-like of shape (n, 3), or a frame with columns x, y, z
    coordinates : {"voxel", "nm"}
        "voxel" is fafbseg's: 4 x 4 x 40 nm, whatever the voxels of the volume are. There is no
        default.
    vol : Volume
        The open copy.
    return_status : bool
        Return a `PointStatus` for each location too, and raise for none.

    Returns
    -------
    segments : ndarray, shape (n,), dtype of the volume
        0 for background and, as in fafbseg, for a location outside the volume or one that is NaN.
    status : ndarray of uint8, shape (n,)
        Only with `return_status`.

    Raises
    ------
    NotDownloadedError, ShardError, ChunkError
        A location is not in this copy (unless the volume was opened with missing="zero"), or is
        damaged there: neither is ever a 0. Not with `return_status`.

    Examples
    --------
    >>> import shardreader
    >>> vol = shardreader.open_volume("fixtures/fafb-mini")
    >>> locs_to_segments([[122694, 65592, 3045], [-1, 0, 0]], "voxel", vol=vol)
    array([2142873971,          0], dtype=uint64)
    >>> locs_to_segments([[490776, 262368, 121800]], coordinates="nm", vol=vol)
    array([2142873971], dtype=uint64)
    """
    return _segments_at(locs, _size_of(coordinates), vol, return_status)


def neuron_to_segments(
    x: Any, coordinates: str | None = None, *, vol: Volume, return_status: bool = False
) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
    """How many nodes each skeleton has in each segment.

    Parameters
    ----------
    x : navis.TreeNeuron, navis.NeuronList, or an iterable of neurons
        CATMAID's neurons (pymaid) are such. Their ids must differ.
    coordinates : {"voxel", "nm"}, optional
        As in `locs_to_segments`. Without it each neuron must say its own units, as those from
        CATMAID do (nm); where both are given they must agree.
    vol : Volume
        The open copy.
    return_status : bool
        Return the statuses too, and raise for none.

    Returns
    -------
    overlap : pandas.DataFrame of int64
        Segments (rows, ``seg_id``) x skeletons (columns, ``skeleton_id``); no row for label 0.
        fafbseg has NaN where this has 0.
    status : pandas.DataFrame of int64
        Names of `PointStatus` x skeletons; only with `return_status`. OK counts the nodes on label
        0 too, so that a column of this frame sums to the nodes of the skeleton.

    Raises
    ------
    TypeError
        Not such neurons, or neither `coordinates` nor units.
    ValueError
        The units of a neuron are others than `coordinates`; two neurons have the same id; the
        table would be larger than 2 GiB.
    NotDownloadedError, ShardError, ChunkError
        As `locs_to_segments`.
    """
    import pandas as pd

    neurons = _neurons(x)
    ids = [neuron.id for neuron in neurons]
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise ValueError(f"two neurons have the id {twice}: their nodes would be counted as one")
    if vol.num_channels != 1:
        raise ValueError(f"a volume of {vol.num_channels} channels has no one segment at a node")
    columns = pd.Index(ids, name="skeleton_id")
    owner, segments, status = _nodes_of(neurons, coordinates, vol, return_status)
    found, row = np.unique(segments[segments != 0], return_inverse=True)
    if len(found) * len(ids) > _TABLE_LIMIT:
        raise ValueError(
            f"a table of {len(found):,} segments x {len(ids):,} skeletons; ask for fewer at a time"
        )
    counts = _counts(row, owner[segments != 0], (len(found), len(ids)))
    overlap = pd.DataFrame(counts, index=pd.Index(found, name="seg_id"), columns=columns)
    if not return_status:
        return overlap
    names = pd.Index([code.name for code in PointStatus], name="status")
    counts = _counts(status, owner, (len(names), len(ids)))
    return overlap, pd.DataFrame(counts, index=names, columns=columns)


def _size_of(coordinates: str) -> Size:
    if coordinates not in _COORDINATES:
        raise ValueError(
            f"coordinates must be 'voxel' (fafbseg's, 4 x 4 x 40 nm) or 'nm', not {coordinates!r}"
        )
    return _COORDINATES[coordinates]


def _segments_at(locs: Any, size: Size, vol: Volume, return_status: bool) -> Any:
    if return_status:
        return vol.lookup(locs, resolution=size, return_status=True)
    try:
        return vol.lookup(locs, resolution=size)
    except (OutOfBoundsError, InvalidPointError) as error:
        # Raised only where nothing is damaged or not downloaded. fafbseg answers 0 here.
        if error.labels is None:
            raise
        return error.labels


def _neurons(x: Any) -> list[Any]:
    if hasattr(x, "nodes") and not hasattr(x, "neurons"):
        neurons = [x]
    else:
        neurons = list(x) if isinstance(x, Iterable) else [x]
    for neuron in neurons:
        if not (hasattr(neuron, "nodes") and hasattr(neuron, "units_xyz")):
            raise TypeError(
                "neuron_to_segments takes a navis TreeNeuron or a NeuronList of them, not "
                f"{type(neuron).__name__}"
            )
    return neurons


def _nodes_of(
    neurons: list[Any], coordinates: str | None, vol: Volume, return_status: bool
) -> tuple[NDArray[np.intp], NDArray[Any], NDArray[np.uint8]]:
    """For all nodes: the number of the neuron, the segment, the status (0 if not asked for).

    Neurons of one unit are looked up together, so that no chunk is read for each of them.
    """
    of_size: dict[Size, list[int]] = {}
    for number, neuron in enumerate(neurons):
        of_size.setdefault(_unit_of(neuron, coordinates), []).append(number)
    owners = [np.empty(0, dtype=np.intp)]
    segments = [np.empty(0, dtype=vol.dtype)]
    statuses = [np.empty(0, dtype=np.uint8)]
    for size, numbers in of_size.items():
        nodes = [neurons[number].nodes[["x", "y", "z"]].to_numpy(np.float64) for number in numbers]
        answer = _segments_at(np.concatenate(nodes), size, vol, return_status)
        labels, status = answer if return_status else (answer, np.zeros(len(answer), np.uint8))
        owners.append(np.repeat(numbers, [len(points) for points in nodes]))
        segments.append(labels)
        statuses.append(status)
    return np.concatenate(owners), np.concatenate(segments), np.concatenate(statuses)


def _unit_of(neuron: Any, coordinates: str | None) -> Size:
    asked = None if coordinates is None else _size_of(coordinates)
    units = neuron.units_xyz
    if not units.check("[length]"):
        if asked is None:
            raise TypeError(
                f"neuron {neuron.id} does not say its units; give coordinates='nm' or 'voxel' "
                "(fafbseg's, 4 x 4 x 40 nm), or set its units (neuron.units = 'nm')"
            )
        return asked
    # Conversion (of um, say) leaves a rounding error that would move a point on a voxel's bound.
    x, y, z = np.round(np.asarray(units.to("nm").magnitude, dtype=np.float64), 6).tolist()
    if asked is not None and not np.allclose((x, y, z), asked):
        raise ValueError(
            f"neuron {neuron.id} says that its units are {x:g} x {y:g} x {z:g} nm, which are not "
            f"coordinates={coordinates!r}; leave coordinates out, or correct the neuron"
        )
    return x, y, z


def _counts(row: NDArray[Any], column: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.int64]:
    rows, columns = shape
    flat = np.bincount(row.astype(np.int64) * columns + column, minlength=rows * columns)
    return flat.reshape(shape).astype(np.int64)
