"""The errors: messages, families and pickling."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from shardreader import errors
from shardreader.errors import FormatFault, Location, PointStatus, ShardReaderError

FAMILIES = {
    errors.InfoError: ValueError,
    errors.ShardError: ValueError,
    errors.ChunkError: ValueError,
    errors.NotDownloadedError: FileNotFoundError,
    errors.InvalidPointError: ValueError,
    errors.OutOfBoundsError: IndexError,
    errors.ReadError: OSError,
    errors.ClusterError: RuntimeError,
}
LOCATION = Location(
    file="vol/8.0x8.0x40.0/0054.shard",
    shard_number=0x54,
    minishard_number=21,
    chunk_id=7016,
    cell=(156, 92, 60),
    byte_range=(1024, 1324),
)


def test_every_error_of_the_contract_is_listed():
    defined = {
        item
        for item in vars(errors).values()
        if isinstance(item, type)
        and issubclass(item, ShardReaderError)
        and item is not ShardReaderError
    }
    assert defined == set(FAMILIES)


@pytest.mark.parametrize("error_type", FAMILIES)
def test_builtin_family(error_type):
    assert issubclass(error_type, FAMILIES[error_type])
    assert issubclass(error_type, ShardReaderError)


@pytest.mark.parametrize("error_type", [*FAMILIES, ShardReaderError])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_message_and_attributes(error_type, protocol):
    error = error_type.at(LOCATION, "length", expected="300", found="299", advice="fetch it again")
    error.labels = np.array([1, 2**64 - 1], dtype=np.uint64)
    error.status = np.array([0, 5], dtype=np.uint8)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is error_type
    assert str(again) == str(error)
    assert again.location == LOCATION
    assert (again.what, again.expected, again.found) == ("length", "300", "299")
    assert again.labels.tolist() == [1, 2**64 - 1]
    assert again.status.tolist() == [0, 5]
    assert again.labels.dtype == np.uint64


@pytest.mark.parametrize("error_type", FAMILIES)
def test_an_error_of_a_plain_message_pickles(error_type):
    again = copy.copy(pickle.loads(pickle.dumps(error_type("a message"))))
    assert str(again) == "a message"
    assert again.location is None
    assert again.labels is None


def test_message_says_where_what_expected_found_and_what_to_do():
    error = errors.ChunkError.at(
        LOCATION, "length", expected="300 bytes", found="299", advice="fetch it again"
    )
    assert str(error) == (
        "vol/8.0x8.0x40.0/0054.shard, shard 0x54, minishard 21, chunk 7016, cell (156, 92, 60), "
        "bytes [1024, 1324): length: expected 300 bytes, found 299; fetch it again"
    )


def test_location_leaves_out_what_does_not_apply():
    assert str(Location(file="info")) == "info"
    assert str(Location(shard_number=0, minishard_number=0)) == "shard 0x0, minishard 0"


def test_format_fault_pickles():
    fault = FormatFault("header", expected="16 bytes", found="3")
    again = pickle.loads(pickle.dumps(fault))
    assert (again.what, again.expected, again.found) == ("header", "16 bytes", "3")
    assert str(again) == "header: expected 16 bytes, found 3"
    assert not isinstance(fault, ShardReaderError)


def test_status_numbers_are_the_contract():
    assert {status.name: int(status) for status in PointStatus} == {
        "OK": 0,
        "EMPTY": 1,
        "OUT_OF_BOUNDS": 2,
        "INVALID": 3,
        "NOT_DOWNLOADED": 4,
        "CORRUPT": 5,
    }
