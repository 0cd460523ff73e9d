"""The contract of every source of chunks, whatever form the files have.

`SourceContract` needs only `open`, so a further kind of source is a subclass that opens the same
copies in its own way; what only a local directory can do to a source is in `LocalContract`.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_server import serving
from preads import replace_pread
from shard_builder import block_label, encode, tiny_chunk
from source_copies import (
    CHUNK_IDS,
    FORMS,
    Copy,
    FirstVersionCopy,
    Opened,
    UnshardedCopy,
    open_copy,
    open_served,
)

from shardreader import Box, open_volume
from shardreader.errors import (
    ChunkError,
    FormatFault,
    NotDownloadedError,
    PointStatus,
    ReadError,
    ShardError,
    ShardReaderError,
)
from shardreader.format.manifest import FileRecord

OK, EMPTY = PointStatus.OK, PointStatus.EMPTY
ABSENT, CORRUPT = PointStatus.NOT_DOWNLOADED, PointStatus.CORRUPT
CHUNK = 5  # of minishard 1 of shard 0
FAULT = FormatFault("a thing", expected="this", found="that")


@pytest.fixture(params=sorted(FORMS))
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Copy:
    """A copy in each form, written."""
    form, encoding = FORMS[request.param]
    written: Copy = form(tmp_path / "volume", encoding).write()
    return written


def is_gzip(copy: Copy) -> bool:
    return copy.encoding == "gzip"


class SourceContract:
    """What every source has to do."""

    reads_until_kept = 2
    """How often a chunk is read before the cache has it."""

    def open(self, copy: Copy, **options: Any) -> Opened:
        raise NotImplementedError

    def cost_of_finding(self, copy: Copy, *, again: bool = False) -> int:
        """How many reads find the first chunk of a file; `again` without a cache."""
        del again
        return copy.reads_of_indices

    @pytest.fixture
    def opened(self, copy: Copy) -> Iterator[Callable[..., Opened]]:
        """Opens the copy, and closes what it opened."""
        all_opened = []

        def open_(**options: Any) -> Opened:
            all_opened.append(self.open(copy, **options))
            return all_opened[-1]

        yield open_
        for opened in reversed(all_opened):
            opened.close()

    # --- what is there

    @pytest.mark.parametrize("threads", [1, 3])
    def test_every_chunk_is_found_and_read_once(
        self, copy: Copy, opened: Callable[..., Opened], threads: int
    ) -> None:
        it = opened(threads=threads)
        ids = random.Random(0).sample(CHUNK_IDS, len(CHUNK_IDS))
        found = it.find(ids)
        assert found.status.tolist() == [OK] * len(ids)
        assert found.cells is not None
        assert [tuple(cell) for cell in found.cells.tolist()] == [copy.tiny.cell(i) for i in ids]
        assert not found.problems
        handed = it.read(found)
        assert handed.encoded == {row: tiny_chunk(i) for row, i in enumerate(ids)}
        assert not handed.faults
        assert not handed.stale

    def test_no_cells_are_no_chunks(self, opened: Callable[..., Opened]) -> None:
        it = opened()
        found = it.find([])
        assert len(found.status) == 0
        assert not it.read(found).encoded
        assert it.store.taken() == 0

    def test_a_location_leads_to_the_stored_bytes(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        it = opened()
        found = it.find(CHUNK_IDS)
        for row, chunk_id in enumerate(CHUNK_IDS):
            location = it.source.location(found, row)
            assert location.cell == copy.tiny.cell(chunk_id)
            files = copy.files_of(chunk_id)
            assert all(file.name in str(location) for file in files)
            assert location.byte_range is not None
            start, end = location.byte_range
            content = b"".join(file.read_bytes() for file in files)
            assert content[start:end] == copy.stored[chunk_id]

    def test_a_chunk_error_says_where_what_and_what_to_do(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        it = opened()
        found = it.find([7, CHUNK])
        error = it.source.chunk_error(found, 1, FAULT)
        assert type(error) is ChunkError
        for part in ("a thing", "expected this", "found that", "cell (1, 0, 1)", "bytes ["):
            assert part in str(error)
        assert error.location is not None
        assert str(error).endswith(it.source.advice(str(error.location.file)))
        for file in copy.files_of(CHUNK):
            assert file.name in str(error)
        assert error.location == it.source.location(found, 1)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)

    # --- what is not there

    @pytest.mark.parametrize(
        ("state", "unlisted", "status"),
        [
            ("none", "unknown", EMPTY),
            ("none", "none", EMPTY),
            (None, "none", EMPTY),
            (None, "unknown", ABSENT),
            ("whole", "none", ABSENT),
            ("partial", "none", ABSENT),
            ("not_fetched", "none", ABSENT),
        ],
    )
    def test_the_manifest_tells_background_from_what_is_not_downloaded(
        self,
        copy: Copy,
        opened: Callable[..., Opened],
        state: str | None,
        unlisted: str,
        status: PointStatus,
    ) -> None:
        names = [file.name for file in copy.files_of(CHUNK)]
        files = {} if state is None else {name: FileRecord(state) for name in names}
        copy.write_manifest(files, unlisted)
        copy.remove(CHUNK)
        gone = copy.mates_of(CHUNK)
        found = opened().find(CHUNK_IDS)
        assert found.status.tolist() == [status if i in gone else OK for i in CHUNK_IDS]

    def test_a_manifest_does_not_hide_what_is_there(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        names = [file.name for file in copy.files_of(CHUNK)]
        copy.write_manifest({name: FileRecord("none") for name in names}, "none")
        assert not opened().find(CHUNK_IDS).status.any()

    # --- what is damaged

    def test_a_file_of_0_bytes_is_corrupt(self, copy: Copy, opened: Callable[..., Opened]) -> None:
        for file in copy.files_of(CHUNK):
            file.write_bytes(b"")
        it = opened()
        found = it.find(CHUNK_IDS)
        bad = copy.mates_of(CHUNK)
        assert found.status.tolist() == [CORRUPT if i in bad else OK for i in CHUNK_IDS]
        assert set(found.problems) == set(bad)
        for row in bad:
            assert isinstance(found.problems[row], (ShardError, ChunkError))
            assert copy.files_of(CHUNK)[0].name in str(found.problems[row])
        assert set(it.read(found).encoded) == set(CHUNK_IDS) - set(bad)

    def test_damaged_bytes_fail_their_chunk_alone(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        if not is_gzip(copy):
            pytest.skip("raw bytes have no checksum")
        good = copy.stored[CHUNK]
        for damaged in (good[:-1], good[:-8] + bytes(8), b"junk", good + b"junk"):
            copy.stored[CHUNK] = damaged
            copy.write()
            it = opened()
            found = it.find(CHUNK_IDS)
            assert not found.status.any()
            handed = it.read(found)
            assert set(handed.faults) == {CHUNK}
            assert set(handed.encoded) == set(CHUNK_IDS) - {CHUNK}
            error = it.source.chunk_error(found, CHUNK, handed.faults[CHUNK])
            assert "gzip" in str(error)

    def test_a_fault_of_who_consumes_is_handed_back(self, opened: Callable[..., Opened]) -> None:
        it = opened()
        failed: list[tuple[int, FormatFault]] = []

        def consume(row: int, _: bytes) -> None:
            if row == CHUNK:
                raise FAULT

        for _ in range(2):  # read, then from the cache
            found = it.find(CHUNK_IDS)
            it.source.read(
                found, consume, lambda row, fault: failed.append((row, fault)), it.workers
            )
        assert failed == [(CHUNK, FAULT)] * 2

    def test_any_other_error_of_who_consumes_is_raised(self, opened: Callable[..., Opened]) -> None:
        def consume(row: int, _: bytes) -> None:
            raise RuntimeError(f"row {row}")

        it = opened(threads=2)
        with pytest.raises(RuntimeError, match="row"):
            it.source.read(it.find(CHUNK_IDS), consume, lambda *_: None, it.workers)

    # --- what a read costs

    def test_one_chunk_costs_one_read_and_its_indices(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        it = opened()
        found = it.find([CHUNK])
        assert it.store.taken() == self.cost_of_finding(copy)
        for _ in range(self.reads_until_kept):
            it.read(found)
            assert it.store.taken() == 1
        it.read(it.find([CHUNK]))
        assert it.store.taken() == 0

    def test_all_chunks_cost_no_more_reads_than_chunks(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        it = opened()
        found = it.find(CHUNK_IDS)
        it.store.taken()
        for _ in range(self.reads_until_kept):
            it.read(found)
            assert it.store.taken() <= len(CHUNK_IDS)
        it.read(it.find(CHUNK_IDS))
        assert it.store.taken() == 0

    def test_without_a_cache_all_is_read_again(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        it = opened(cache_bytes=0)
        for again in (False, True):
            assert it.read(it.find([CHUNK])).encoded == {0: tiny_chunk(CHUNK)}
            assert it.store.taken() == self.cost_of_finding(copy, again=again) + 1
        assert it.source.cache.used_bytes == 0


class LocalContract(SourceContract):
    """What a source has to do whose files can change, or be something else, at any time."""

    # --- what only a directory says so

    def test_advice_names_the_source_if_it_is_known(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        it = opened()
        path = str(copy.directory / "a-file")
        assert it.source.advice(path) == "copy a-file from the source again"
        copy.write_manifest({}, "unknown")
        url = f"gs://bucket/volume/{copy.tiny.key}/a-file"
        assert opened().source.advice(path) == f"copy it again: gsutil cp {url} {path}"

    def test_an_absent_file_is_not_downloaded(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        copy.remove(CHUNK)
        it = opened()
        found = it.find(CHUNK_IDS)
        gone = copy.mates_of(CHUNK)
        assert found.status.tolist() == [ABSENT if i in gone else OK for i in CHUNK_IDS]
        location = it.source.location(found, CHUNK)
        assert location.byte_range is None
        assert location.cell == copy.tiny.cell(CHUNK)
        assert str(location.file).startswith(str(copy.directory))
        handed = it.read(found)
        assert set(handed.encoded) == set(CHUNK_IDS) - set(gone)

    def test_what_is_absent_costs_no_read(self, copy: Copy, opened: Callable[..., Opened]) -> None:
        copy.remove(CHUNK)
        it = opened()
        it.read(it.find(copy.mates_of(CHUNK)))
        assert it.store.taken() == 0

    def test_a_chunk_is_read_from_its_own_files(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        it = opened()
        it.read(it.find([CHUNK]))
        names = {f"{copy.tiny.key}/{file.name}" for file in copy.files_of(CHUNK)}
        assert set(it.store.reads) == names

    # --- files that change

    @pytest.mark.parametrize("change", ["touch", "remove"])
    def test_a_file_that_changes_between_search_and_read_is_stale(
        self, copy: Copy, opened: Callable[..., Opened], change: str
    ) -> None:
        it = opened(cache_bytes=0)
        found = it.find(CHUNK_IDS)
        getattr(copy, change)(CHUNK)
        it.store.close()  # an open file would be read to its end as it was
        handed = it.read(found)
        assert handed.stale == copy.mates_of(CHUNK)
        assert set(handed.encoded) == set(CHUNK_IDS) - set(handed.stale)
        again = it.find(CHUNK_IDS)
        status = OK if change == "touch" else ABSENT
        assert again.status[CHUNK] == status
        assert (CHUNK in it.read(again).encoded) == (status == OK)

    def test_a_replaced_file_is_not_served_from_the_cache(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        it = opened()
        it.read(it.find(CHUNK_IDS))
        copy.stored[CHUNK] = encode(tiny_chunk(9), copy.encoding)
        for file in copy.files_of(CHUNK):
            file.unlink()
        copy.write()
        handed = it.read(it.find([CHUNK]))
        assert handed.encoded == {0: tiny_chunk(9)}

    def test_a_file_that_comes_and_goes(self, copy: Copy, opened: Callable[..., Opened]) -> None:
        it = opened()
        for _ in range(2):
            assert it.find([CHUNK]).status.tolist() == [OK]
            copy.remove(CHUNK)
            assert it.find([CHUNK]).status.tolist() == [ABSENT]
            copy.write()

    # --- what is no file

    @pytest.mark.parametrize("what", ["a directory", "a FIFO"])
    def test_something_else_in_a_files_place_is_corrupt(
        self, copy: Copy, opened: Callable[..., Opened], what: str
    ) -> None:
        if what == "a FIFO" and not hasattr(os, "mkfifo"):
            pytest.skip("has no FIFOs")
        make = os.mkdir if what == "a directory" else os.mkfifo
        bad = copy.mates_of(CHUNK)
        for file in copy.files_of(CHUNK):
            content = file.read_bytes()
            file.unlink()
            make(file)
            found = opened().find(CHUNK_IDS)
            assert found.status.tolist() == [CORRUPT if i in bad else OK for i in CHUNK_IDS]
            for row in bad:
                assert what in str(found.problems[row])
                assert file.name in str(found.problems[row])
            (os.rmdir if what == "a directory" else os.unlink)(file)
            file.write_bytes(content)

    # --- a copy that goes away

    @pytest.mark.parametrize("gone", ["info", "scale", "all"])
    def test_a_copy_that_goes_away_is_no_status(
        self, copy: Copy, opened: Callable[..., Opened], gone: str
    ) -> None:
        it = opened()
        it.read(it.find(CHUNK_IDS))
        copy.remove(CHUNK)
        if gone == "info":
            (copy.path / "info").unlink()
        else:
            shutil.rmtree(copy.directory if gone == "scale" else copy.path)
        with pytest.raises(ReadError, match="is the drive connected"):
            it.find(CHUNK_IDS)

    @pytest.mark.parametrize("call", ["look", "open", "read"])
    def test_what_the_system_refuses_is_no_status(
        self, copy: Copy, opened: Callable[..., Opened], call: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        it = opened()

        def refuse(*_: Any, **__: Any) -> Any:
            raise OSError(5, "Input/output error")

        if call == "read":
            replace_pread(monkeypatch, refuse)
        else:
            monkeypatch.setattr(os, "open", refuse)
        if call == "look":
            monkeypatch.setattr(os, "stat", refuse)
        with pytest.raises(ReadError, match=r"EIO.*says nothing about the data"):
            it.read(it.find(CHUNK_IDS))


class TestLocal(LocalContract):
    def open(self, copy: Copy, **options: Any) -> Opened:
        return open_copy(copy, **options)


class TestRemote(SourceContract):
    """The same copies, from a web server."""

    reads_until_kept = 1

    @pytest.fixture(params=["sharded-gzip", "first-version-raw", "unsharded-raw"])
    def copy(self, request: pytest.FixtureRequest, tmp_path: Path) -> Copy:
        form, encoding = FORMS[request.param]
        written: Copy = form(tmp_path / "volume", encoding).write()
        return written

    @pytest.fixture(autouse=True)
    def _served(self, copy: Copy) -> Iterator[None]:
        with serving(copy.path) as self.server:
            yield

    def open(self, copy: Copy, **options: Any) -> Opened:
        return open_served(copy, self.server, **options)

    def cost_of_finding(self, copy: Copy, *, again: bool = False) -> int:
        if isinstance(copy, UnshardedCopy):
            return 0 if again else 1
        if isinstance(copy, FirstVersionCopy):
            return 2 if again else 5  # N.shard, N.index, N.data, then both indices
        return 1  # all of a small file comes with its shard index

    def test_an_absent_object_is_background(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        copy.remove(CHUNK)
        it = opened()
        found = it.find(CHUNK_IDS)
        gone = copy.mates_of(CHUNK)
        assert found.status.tolist() == [EMPTY if i in gone else OK for i in CHUNK_IDS]
        assert it.source.location(found, CHUNK).byte_range is None
        assert str(it.source.location(found, CHUNK).file).startswith(self.server.plain)
        assert set(it.read(found).encoded) == set(CHUNK_IDS) - set(gone)
        it.store.taken()
        it.find(gone)
        assert it.store.taken() == 0

    def test_an_object_that_is_replaced_is_read_anew(
        self, copy: Copy, opened: Callable[..., Opened]
    ) -> None:
        it = opened(cache_bytes=0)
        found = it.find(CHUNK_IDS)
        for file in copy.files_of(CHUNK):
            self.server.replace(f"{copy.tiny.key}/{file.name}", file.read_bytes())
        handed = it.read(found)
        assert handed.stale == copy.mates_of(CHUNK)
        assert set(handed.encoded) == set(CHUNK_IDS) - set(handed.stale)
        again = it.read(it.find(handed.stale))
        assert again.encoded == {row: tiny_chunk(i) for row, i in enumerate(handed.stale)}


# --- through a volume


def points(copy: Copy) -> np.ndarray:
    return np.array([copy.tiny.lower(i) for i in CHUNK_IDS])


def expected_labels(gone: list[int]) -> list[int]:
    return [0 if i in gone else block_label(i, 0) for i in CHUNK_IDS]


def chunk_box(copy: Copy, chunk_id: int) -> Box:
    lower = copy.tiny.lower(chunk_id)
    x, y, z = (a + n for a, n in zip(lower, copy.tiny.chunk_shape, strict=True))
    return Box(lower, (x, y, z))


def test_a_volume_reads_it_whole(copy: Copy) -> None:
    with open_volume(copy.path) as vol:
        whole = vol[...]
        for chunk_id in CHUNK_IDS:
            box = chunk_box(copy, chunk_id)
            part = tuple(map(slice, box.lower, box.upper))
            np.testing.assert_array_equal(whole[part], copy.tiny.voxels(chunk_id))
            np.testing.assert_array_equal(vol[part], copy.tiny.voxels(chunk_id))
        assert vol.lookup(points(copy), units="voxel").tolist() == expected_labels([])
        assert not vol.stored_chunks(vol.bounds)[1].any()


@pytest.mark.parametrize("missing", ["error", "zero"])
def test_a_volume_without_a_file(copy: Copy, missing: str) -> None:
    copy.remove(CHUNK)
    gone = copy.mates_of(CHUNK)
    with open_volume(copy.path, missing=missing) as vol:
        labels, status = vol.lookup(points(copy), units="voxel", return_status=True)
        assert labels.tolist() == expected_labels(gone)
        assert status.tolist() == [ABSENT if i in gone else OK for i in CHUNK_IDS]
        stored = vol.stored_chunks(vol.bounds)[1]
        assert [int(stored[copy.tiny.cell(i)]) for i in CHUNK_IDS] == status.tolist()
        if missing == "zero":
            assert vol.lookup(points(copy), units="voxel").tolist() == labels.tolist()
            assert not vol.cutout(chunk_box(copy, CHUNK)).any()
            return
        file = copy.files_of(CHUNK)[0].stem
        message = rf"{file}.*cell \(1, 0, 1\).*not in the copy.*missing=.zero"
        with pytest.raises(NotDownloadedError, match=message):
            vol.cutout(chunk_box(copy, CHUNK))
        with pytest.raises(NotDownloadedError) as info:
            vol.lookup(points(copy), units="voxel")
        assert info.value.labels.tolist() == labels.tolist()


def test_a_volume_with_a_damaged_chunk(copy: Copy) -> None:
    # Cut to words of which the second, a block's, leads beyond the end.
    copy.stored[CHUNK] = encode(tiny_chunk(CHUNK)[:8], copy.encoding)
    copy.write()
    with open_volume(copy.path, missing="zero") as vol:
        labels, status = vol.lookup(points(copy), units="voxel", return_status=True)
        assert labels.tolist() == expected_labels([CHUNK])
        assert status.tolist() == [CORRUPT if i == CHUNK else OK for i in CHUNK_IDS]
        for read in (
            lambda: vol.cutout(vol.bounds),
            lambda: vol.lookup(points(copy), units="voxel"),
        ):
            with pytest.raises(ChunkError) as info:
                read()
            for part in ("cell (1, 0, 1)", "expected", "found", "copy", "bytes ["):
                assert part in str(info.value)


def test_random_damage_gives_an_error_or_a_status_of_the_contract(copy: Copy) -> None:
    rng = random.Random(0)
    files = sorted(path for path in copy.directory.iterdir() if path.is_file())
    contents = {file: file.read_bytes() for file in files}
    for _ in range(20):
        file = rng.choice(files)
        damaged = bytearray(contents[file])
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(damaged)) if damaged else 0
            if rng.random() < 0.5 and damaged:
                damaged[at] ^= 1 << rng.randrange(8)
            else:
                del damaged[at : at + rng.randrange(1, 40)]
        file.write_bytes(damaged)
        with open_volume(copy.path, threads=1) as vol:
            labels, status = vol.lookup(points(copy), units="voxel", return_status=True)
            assert set(status.tolist()) <= {OK, EMPTY, CORRUPT}
            assert not labels[status != OK].any()
            if is_gzip(copy) and file.suffix == ".gz":
                good = np.array(expected_labels([]), np.uint64)
                assert (labels == good)[status != CORRUPT].all()
            try:
                vol.cutout(vol.bounds)
            except ShardReaderError as error:
                assert isinstance(error, (ShardError, ChunkError))
        file.write_bytes(contents[file])
