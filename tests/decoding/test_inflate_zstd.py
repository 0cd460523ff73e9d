"""zstd streams: what is valid, and how much memory a bad one takes."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader.decoding.inflate import inflate, most_stored_bytes
from shardreader.errors import FormatFault

MOST = 1 << 20
TEXT = bytes(range(256)) * 40 + b"\0\0\0\0" + b"neuron " * 1000


def compress(data: bytes, level: int = 3, *, size: bool = True, checksum: bool = True) -> bytes:
    writer = zstandard.ZstdCompressor(level=level, write_content_size=size, write_checksum=checksum)
    if size:
        return writer.compress(data)
    stream = writer.compressobj()
    return stream.compress(data) + stream.flush()


def inflate_zstd(stored: bytes, most_bytes: int = MOST) -> bytes:
    """Inflate from the middle of a buffer whose other bytes look like zstd."""
    around = compress(b"other chunk")
    buffer = around + stored + around
    end = len(around) + len(stored)
    return bytes(inflate(buffer, len(around), end, encoding="zstd", most_bytes=most_bytes))


@pytest.mark.parametrize("size", [True, False])
@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("level", [-5, 1, 3, 19])
@pytest.mark.parametrize(
    "data", [b"", b"a", TEXT, bytes(300_000), random.Random(0).randbytes(9999)]
)
def test_a_frame(data: bytes, level: int, checksum: bool, size: bool) -> None:
    stored = compress(data, level, size=size, checksum=checksum)
    assert inflate_zstd(stored) == data
    assert inflate_zstd(stored, len(data)) == data
    if data:
        with pytest.raises(FormatFault, match="at most"):
            inflate_zstd(stored, len(data) - 1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=3000), st.booleans(), st.booleans()), min_size=1))
def test_frames_are_joined(parts: list[tuple[bytes, bool, bool]]) -> None:
    stored = b"".join(compress(data, size=size, checksum=sum_) for data, size, sum_ in parts)
    data = b"".join(part[0] for part in parts)
    assert inflate_zstd(stored) == data
    assert inflate_zstd(stored, len(data)) == data


def test_many_frames_take_linear_time() -> None:
    count = 20_000
    assert inflate_zstd(compress(b"x") * count) == b"x" * count


def test_frames_without_data_are_passed_over() -> None:
    skipped = (0x184D2A57).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"notes"
    assert inflate_zstd(skipped + compress(TEXT) + skipped) == TEXT
    with pytest.raises(FormatFault, match="cut"):
        inflate_zstd(compress(TEXT) + skipped[:-1])


GOOD = compress(TEXT)
OPEN = compress(TEXT, size=False)


@pytest.mark.parametrize("stored", [GOOD, OPEN, compress(bytes(200_000), checksum=False)])
def test_every_cut_is_an_error(stored: bytes) -> None:
    for length in range(len(stored)):
        with pytest.raises(FormatFault):
            inflate_zstd(stored[:length])


@pytest.mark.parametrize("junk", [b"\0", b"\x28\xb5", b"\x28\xb5\x2f\xfd", GOOD[:-1], b"junk" * 9])
@pytest.mark.parametrize("stored", [GOOD, OPEN])
def test_bytes_after_the_last_frame_are_refused(stored: bytes, junk: bytes) -> None:
    with pytest.raises(FormatFault) as caught:
        inflate_zstd(stored + junk)
    assert caught.value.expected
    assert caught.value.found


@pytest.mark.parametrize("stored", [b"", b"\x28", TEXT, bytes(100), b"\x1f\x8b" * 20])
def test_what_is_no_zstd_stream(stored: bytes) -> None:
    with pytest.raises(FormatFault, match="zstd"):
        inflate_zstd(stored)


@pytest.mark.parametrize("stored", [GOOD, OPEN])
def test_a_wrong_checksum_is_an_error(stored: bytes) -> None:
    damaged = stored[:-1] + bytes([stored[-1] ^ 1])
    with pytest.raises(FormatFault, match="checksum"):
        inflate_zstd(damaged)


@pytest.mark.parametrize("claim", [0, 1, 299, 301])
def test_a_lie_about_the_content_size_is_an_error(claim: int) -> None:
    stored = compress(TEXT[:300], checksum=False)
    field = (300 - 256).to_bytes(2, "little")
    assert stored[5:7] == field
    lie = (claim - 256) % 65536
    with pytest.raises(FormatFault):
        inflate_zstd(stored[:5] + lie.to_bytes(2, "little") + stored[7:])


def test_a_claim_of_no_content_is_looked_into() -> None:
    # One byte of content size in a frame of a single segment: 0, then a block with 1 byte.
    stored = b"\x28\xb5\x2f\xfd" + b"\x20\x00" + (1 | 1 << 3).to_bytes(3, "little") + b"x"
    with pytest.raises(FormatFault):
        inflate_zstd(stored)


def test_a_frame_that_needs_a_dictionary_is_refused() -> None:
    samples = [b"segment %d of neuron %d" % (i, i * i) for i in range(2000)]
    dictionary = zstandard.train_dictionary(2000, samples)
    stored = zstandard.ZstdCompressor(dict_data=dictionary).compress(samples[7])
    with pytest.raises(FormatFault):
        inflate_zstd(stored)


def frame_of_runs(blocks: int, window: int = 0x50) -> bytes:
    """128 KiB of zeros in each block of 4 bytes, without a content size."""
    run = (1 << 17) << 3 | 1 << 1
    body = (run.to_bytes(3, "little") + b"\0") * (blocks - 1)
    return b"\x28\xb5\x2f\xfd\0" + bytes([window]) + body + (run | 1).to_bytes(3, "little") + b"\0"


def test_a_frame_of_runs_is_valid() -> None:
    assert inflate_zstd(frame_of_runs(8)) == bytes(MOST)


@pytest.mark.parametrize(
    "bomb",
    [
        compress(bytes(64 << 20)),
        compress(bytes(64 << 20), size=False),
        compress(bytes(MOST)) * 64,
        compress(bytes(MOST), size=False) * 64,
        frame_of_runs(512),
    ],
)
def test_a_bomb_takes_little_memory(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FormatFault, match="at most"):
            inflate_zstd(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MOST


def test_a_huge_window_is_refused() -> None:
    with pytest.raises(FormatFault, match="window"):
        inflate_zstd(frame_of_runs(1, window=(30 - 10) << 3))
    assert inflate_zstd(frame_of_runs(1, window=(23 - 10) << 3)) == bytes(1 << 17)


@pytest.mark.parametrize("level", [-5, 1, 19])
def test_what_cannot_shrink_fits_its_bound(level: int) -> None:
    data = random.Random(1).randbytes(MOST)
    assert len(compress(data, level)) <= most_stored_bytes("zstd", len(data))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damage_is_an_error_or_harmless(data: st.DataObject) -> None:
    stored = bytearray(data.draw(st.sampled_from([GOOD, OPEN, compress(TEXT) + OPEN])))
    for _ in range(data.draw(st.integers(1, 4))):
        stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        result = inflate_zstd(bytes(stored))
    except FormatFault:
        return
    assert result in (TEXT, TEXT + TEXT, b"")  # b"": the frame became one to be passed over


@settings(deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_bytes_or_a_fault(junk: bytes, magic: bool) -> None:
    with contextlib.suppress(FormatFault):
        inflate_zstd((b"\x28\xb5\x2f\xfd" if magic else b"") + junk, 1000)


def test_importing_the_package_does_not_load_zstandard() -> None:
    code = "import sys, shardreader.decoding.inflate\nsys.exit('zstandard' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
