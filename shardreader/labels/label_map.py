"""Labels of the user, exactly; a table that says which label becomes which.

Labels never pass through floats: a float64 holds no more than 53 of a label's 64 bits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import ReadError

__all__ = [
    "LabelMap",
    "ValuesOf",
    "exact_labels",
    "label_map_of",
    "membership_in",
    "numbers_in",
    "values_as",
]

ValuesOf = Callable[[NDArray[np.uint64]], NDArray[Any]]
"""Gives what labels become, in a contiguous array."""

_MOST = (1 << 64) - 1


def exact_labels(values: Any, name: str) -> NDArray[np.uint64]:
    """Labels as uint64, of the shape that they have; nothing is rounded.

    Parameters
    ----------
    values : int, or array-like of integers
    name : str
        What they are, for messages.

    Raises
    ------
    TypeError
        Floats, bools, or what is no number.
    ValueError
        A negative label, or one above 2**64 - 1.

    Examples
    --------
    >>> exact_labels([7, 2**64 - 1], "labels")
    array([                   7, 18446744073709551615], dtype=uint64)
    """
    array = values if isinstance(values, np.ndarray) else _as_array(values, name)
    if array.dtype.kind == "O":
        items = [_exact_label(item, name) for item in array.ravel().tolist()]
        return np.array(items, dtype=np.uint64).reshape(array.shape)
    if array.size == 0:
        return np.empty(array.shape, np.uint64)
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"{name} must be integers, not {array.dtype}: a float does not hold every label exactly"
        )
    if array.dtype.kind == "i" and array.size and array.min() < 0:
        raise ValueError(f"{name} must not be negative: {array.min()}")
    return array.astype(np.uint64)


def _as_array(values: Any, name: str) -> NDArray[Any]:
    if hasattr(values, "dtype"):
        return np.asarray(values)
    if isinstance(values, (set, frozenset, Mapping, str, bytes)):
        raise TypeError(f"{name} must be an array or a list of integers, not {values!r}")
    # A list is looked at item by item: numpy makes floats of an int beside a numpy.uint64.
    array = np.empty((), object)
    array[()] = values
    if not hasattr(values, "__len__"):
        return array
    if set(map(type, values)) == {int} and max(values) <= _MOST:
        bulk = np.array(values)
        if bulk.dtype.kind in "iu":
            return bulk
    return np.array(values, dtype=object) if len(values) else np.empty(0)


def _exact_label(item: Any, name: str) -> int:
    if isinstance(item, (bool, np.bool_)):
        raise TypeError(f"{name} must be integers, not bools")
    try:
        label = operator.index(item)
    except TypeError:
        raise TypeError(
            f"{name} must be integers, not {item!r}: a float does not hold every label exactly"
        ) from None
    if not 0 <= label <= _MOST:
        raise ValueError(f"{name} must be from 0 to 2**64 - 1, not {label}")
    return label


class LabelMap:
    """Which label becomes which: an agglomeration table, sorted once and used for many reads.

    Parameters
    ----------
    mapping : mapping, pair of arrays, or frame with two columns
        Labels and what they become, exact integers. A label may come twice if it becomes the same.
    default : int, optional
        What all other labels become; without it they stay as they are.

    Raises
    ------
    TypeError
        Floats, bools, or a mapping of another form.
    ValueError
        A negative label, arrays of different lengths, or a label that becomes two things.

    Examples
    --------
    >>> roots = LabelMap({11: 1, 12: 1, 2**63: 5}, default=0)
    >>> roots.apply(np.array([12, 2**63, 13], np.uint64))
    array([1, 5, 0], dtype=uint64)
    """

    def __init__(self, mapping: Any, *, default: int | None = None) -> None:
        labels, values = (
            array.ravel() for array in map(exact_labels, _pair_of(mapping), ("labels", "values"))
        )
        if len(labels) != len(values):
            raise ValueError(f"a mapping of {len(labels)} labels to {len(values)} values")
        self.default = None if default is None else _exact_label(default, "default")
        if (labels[1:] <= labels[:-1]).any():
            order = np.argsort(labels, kind="stable")
            labels, values = labels[order], values[order]
            again = labels[1:] == labels[:-1]
            clash = np.flatnonzero(again & (values[1:] != values[:-1]))
            if len(clash):
                at = int(clash[0])
                raise ValueError(
                    f"label {labels[at]} is mapped to {values[at]} and to {values[at + 1]}"
                )
            keep = np.append(True, ~again)
            labels, values = labels[keep], values[keep]
        self._labels, self._values = labels, values

    def __len__(self) -> int:
        """How many labels the table has."""
        return len(self._labels)

    def __repr__(self) -> str:
        rest = "kept" if self.default is None else f"{self.default}"
        return f"<LabelMap of {len(self):,} labels, others {rest}>"

    def apply(self, labels: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """What each of some labels becomes, uint64 of their shape."""
        rest = labels if self.default is None else np.full_like(labels, self.default)
        if len(self) == 0:
            return rest
        at = np.minimum(np.searchsorted(self._labels, labels), len(self) - 1)
        return np.where(self._labels[at] == labels, self._values[at], rest)


def values_as(dtype: np.dtype[Any], label_map: LabelMap | None) -> ValuesOf:
    """What labels become in an array of a type; a ValueError where one does not fit."""
    most = np.iinfo(dtype).max

    def values_of(labels: NDArray[np.uint64]) -> NDArray[Any]:
        values = labels if label_map is None else label_map.apply(labels)
        if len(values) and values.max() > most:
            raise ValueError(
                f"label {values.max()} of the box does not fit in {dtype}: ask for uint64, or for "
                "renumber=True"
            )
        return values.astype(dtype)

    return values_of


def numbers_in(
    table: NDArray[np.uint64], dtype: np.dtype[Any], label_map: LabelMap | None
) -> ValuesOf:
    """Give the place in an ascending table of what labels become."""
    as_number = values_as(dtype, None)

    def values_of(labels: NDArray[np.uint64]) -> NDArray[Any]:
        values = labels if label_map is None else label_map.apply(labels)
        at = np.searchsorted(table, values)
        if (table[np.minimum(at, len(table) - 1)] != values).any():
            raise ReadError("labels of the box changed while it was read; try again")
        return as_number(at.astype(np.uint64))

    return values_of


def membership_in(wanted: NDArray[np.uint64]) -> ValuesOf:
    """Give 1 for a label that is one of some, 0 for others, as uint8."""
    return lambda labels: np.isin(labels, wanted).view(np.uint8)


def label_map_of(mapping: Any) -> LabelMap:
    """A `LabelMap` of whatever a user may pass as ``mapping=``."""
    return mapping if isinstance(mapping, LabelMap) else LabelMap(mapping)


def _pair_of(mapping: Any) -> tuple[Any, Any]:
    if isinstance(mapping, Mapping):
        return list(mapping.keys()), list(mapping.values())
    if hasattr(mapping, "columns"):
        columns = list(mapping.columns)
        if len(columns) != 2:
            raise TypeError(
                f"a table for mapping= has two columns, label and value; this one has {columns}"
            )
        return mapping[columns[0]], mapping[columns[1]]
    if isinstance(mapping, (tuple, list)) and len(mapping) == 2:
        return mapping[0], mapping[1]
    raise TypeError(
        "mapping must be a dict, a pair of arrays (labels, values), a table with two columns or a "
        f"LabelMap, not {type(mapping).__name__}"
    )
