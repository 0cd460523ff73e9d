"""Labels of the user, exactly."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from shardreader.labels.label_map import LabelMap, exact_labels

BIG = 2**64 - 1


class Frame:
    """What a table of pandas or polars shows of itself."""

    def __init__(self, **columns):
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name):
        return self._columns[name]


@pytest.mark.parametrize(
    "values",
    [
        7,
        np.uint64(BIG),
        [1, BIG],
        [np.uint64(BIG), 1],
        (np.int8(1), 2**63 + 1),
        np.array([1, 2], np.int32),
        np.array([BIG], np.uint64),
        np.array([1, BIG], object),
        [[1, 2], [3, BIG]],
        [],
        np.array([]),
        range(5),
    ],
)
def test_integers_of_every_kind(values):
    labels = exact_labels(values, "labels")
    assert labels.dtype == np.uint64
    assert labels.tolist() == np.array(values, object).tolist()


@pytest.mark.parametrize(
    "values",
    [
        1.0,
        [1, 2.0],
        np.array([1.0]),
        [True],
        True,
        np.array([True]),
        [None],
        "12",
        ["12"],
        {1, 2},
        {1: 2},
    ],
)
def test_what_is_no_integer(values):
    with pytest.raises(TypeError, match="labels must be"):
        exact_labels(values, "labels")


@pytest.mark.parametrize("values", [-1, [-1, 2], np.array([-1]), [2**64], [1, -(2**63)], [-1, BIG]])
def test_what_is_no_label(values):
    with pytest.raises(ValueError, match="labels must"):
        exact_labels(values, "labels")


@pytest.mark.parametrize(
    "mapping",
    [
        {5: 50, BIG: 2**63, 1: 0},
        ([5, BIG, 1], [50, 2**63, 0]),
        (np.array([5, BIG, 1, 5], np.uint64), np.array([50, 2**63, 0, 50], np.uint64)),
        Frame(supervoxel=[1, 5, BIG], root=np.array([0, 50, 2**63], np.uint64)),
    ],
)
def test_forms_of_a_mapping(mapping):
    label_map = LabelMap(mapping)
    assert len(label_map) == 3
    asked = np.array([[BIG, 7], [1, 5]], np.uint64)
    assert label_map.apply(asked).tolist() == [[2**63, 7], [0, 50]]
    assert LabelMap(mapping, default=BIG).apply(asked).tolist() == [[2**63, BIG], [0, 50]]
    copied = pickle.loads(pickle.dumps(label_map))
    assert copied.apply(asked).tolist() == label_map.apply(asked).tolist()


def test_an_empty_mapping():
    asked = np.array([3, 4], np.uint64)
    assert LabelMap({}).apply(asked).tolist() == [3, 4]
    assert LabelMap({}, default=0).apply(asked).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("mapping", "error", "words"),
    [
        ({1: 2.0}, TypeError, "values"),
        ({1.0: 2}, TypeError, "labels"),
        ({-1: 2}, ValueError, "labels"),
        (([1, 2], [3]), ValueError, "2 labels to 1 values"),
        (([1, 1], [3, 4]), ValueError, "label 1 is mapped to 3 and to 4"),
        (Frame(a=[1], b=[2], c=[3]), TypeError, "two columns"),
        (7, TypeError, "mapping must be"),
        ([1, 2, 3], TypeError, "mapping must be"),
    ],
)
def test_refusals(mapping, error, words):
    with pytest.raises(error, match=words):
        LabelMap(mapping)


def test_a_default_is_a_label_too():
    with pytest.raises(TypeError, match="default"):
        LabelMap({1: 2}, default=0.5)
    with pytest.raises(ValueError, match="default"):
        LabelMap({1: 2}, default=-1)


def test_millions_of_entries():
    rng = np.random.default_rng(0)
    labels = np.unique(rng.integers(1 << 63, size=1_000_000).astype(np.uint64))
    shuffled = rng.permutation(len(labels))
    label_map = LabelMap((labels[shuffled], shuffled))
    assert label_map.apply(labels[::1000]).tolist() == list(range(0, len(labels), 1000))
    assert "LabelMap of 1,000,000 labels" in repr(label_map) or len(labels) != 1_000_000
