"""Local reads: all bytes or an error of the contract, and a bounded number of descriptors."""

from __future__ import annotations

import errno
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shard_builder import TinyVolume, block_label

from shardreader import open_volume
from shardreader.errors import ReadError, ShardError
from shardreader.storage import local_store as store_module
from shardreader.storage.local_store import FileIdentity, LocalStore, StaleFileError

ERRORS = ["EACCES", "EIO", "EMFILE", "ENFILE", "ESTALE", "ENOTCONN", "EPERM"]
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) - 1


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc"
)


def identity_of(store: LocalStore, name: str) -> FileIdentity:
    identity = store.identity(name)
    assert identity is not None
    return identity


def closed_after_a_look(store: LocalStore, name: str) -> FileIdentity:
    """The identity of a file that is not open any more."""
    identity = identity_of(store, name)
    store.close()
    return identity


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    (tmp_path / "scale").mkdir()
    for number in range(100):
        (tmp_path / "scale" / f"{number}").write_bytes(bytes([number]) * 10 + b"end")
    return LocalStore(str(tmp_path))


def refuse(
    name: str, monkeypatch: pytest.MonkeyPatch, call: str, times: int = 1 << 30
) -> list[int]:
    """Let a function of `os` fail; the list counts the refusals."""
    true = getattr(os, call)
    refused: list[int] = []

    def refusing(*args: Any, **kwargs: Any) -> Any:
        # The volume's own files only: pytest itself opens files, too.
        if len(refused) < times and (call != "open" or "scale" in str(args[0])):
            refused.append(1)
            raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
        return true(*args, **kwargs)

    monkeypatch.setattr(os, call, refusing)
    return refused


def test_ranges_of_a_file(store: LocalStore) -> None:
    identity = identity_of(store, "scale/7")
    assert store.read("scale/7", start=0, end=2, identity=identity) == b"\7\7"
    assert store.read("scale/7", start=9, end=13, identity=identity) == b"\7end"
    assert store.read("scale/7", start=4, end=4, identity=identity) == b""


def test_a_short_read_goes_on(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_MOST_PER_CALL", 3)
    identity = identity_of(store, "scale/7")
    assert store.read("scale/7", start=1, end=13, identity=identity) == b"\7" * 9 + b"end"


@posix
def test_without_pread(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_HAS_PREAD", False)
    identity = identity_of(store, "scale/7")
    assert store.read("scale/7", start=9, end=13, identity=identity) == b"\7end"
    assert store.read("scale/7", start=0, end=1, identity=identity) == b"\7"


def test_what_does_not_exist(store: LocalStore) -> None:
    assert store.identity("scale/none") is None
    assert store.identity("none/0") is None


@pytest.mark.parametrize("start", [13, 14, 1 << 40])
def test_an_end_behind_the_file_is_stale(store: LocalStore, start: int) -> None:
    identity = identity_of(store, "scale/7")
    with pytest.raises(StaleFileError):
        store.read("scale/7", start=start, end=start + 1, identity=identity)


@pytest.mark.parametrize("held", [False, True])
def test_another_identity_is_stale(store: LocalStore, held: bool) -> None:
    identity = identity_of(store, "scale/7")
    if held:
        store.read("scale/7", start=0, end=1, identity=identity)
    for other in (
        identity._replace(size=14),
        identity._replace(inode=1),
        identity._replace(mtime_ns=identity.mtime_ns + 1),
        identity._replace(device=identity.device + 1),
    ):
        with pytest.raises(StaleFileError):
            store.read("scale/7", start=0, end=1, identity=other)


@posix
def test_a_held_file_that_is_replaced(store: LocalStore) -> None:
    old = identity_of(store, "scale/7")
    store.read("scale/7", start=0, end=1, identity=old)
    os.replace(store.path("scale/8"), store.path("scale/7"))
    new = identity_of(store, "scale/7")
    assert new != old
    assert store.read("scale/7", start=0, end=1, identity=old) == b"\7"
    assert store.read("scale/7", start=0, end=1, identity=new) == b"\10"
    with pytest.raises(StaleFileError):
        store.read("scale/7", start=0, end=1, identity=old)


def test_a_file_that_is_removed_is_stale(store: LocalStore) -> None:
    identity = closed_after_a_look(store, "scale/7")
    os.remove(store.path("scale/7"))
    with pytest.raises(StaleFileError):
        store.read("scale/7", start=0, end=1, identity=identity)


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("call", ["open", "fstat", "pread"])
@posix
def test_what_the_system_refuses(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, call: str, name: str
) -> None:
    identity = closed_after_a_look(store, "scale/7")
    with monkeypatch.context() as patch:
        refuse(name, patch, call)
        with pytest.raises(ReadError, match=name) as info:
            store.read("scale/7", start=0, end=1, identity=identity)
    assert info.value.errno == getattr(errno, name)
    assert store.path("scale/7") in str(info.value)
    assert store.read("scale/7", start=0, end=1, identity=identity) == b"\7"


@pytest.mark.parametrize("name", ["EACCES", "EIO", "ELOOP", "ESTALE"])
def test_a_look_that_the_system_refuses(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for is_open in (False, True):
        with monkeypatch.context() as patch:
            refuse(name, patch, "stat")
            if not is_open:
                refuse(name, patch, "open")
            with pytest.raises(ReadError, match=name):
                store.identity("scale/7")
        assert store.identity("scale/7") is not None


@posix
def test_a_file_that_may_be_looked_at_only(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse("EACCES", monkeypatch, "open")
    identity = identity_of(store, "scale/7")
    assert identity.size == 13
    with pytest.raises(ReadError, match="EACCES"):
        store.read("scale/7", start=0, end=1, identity=identity)


@pytest.mark.skipif(
    os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may read all"
)
@pytest.mark.parametrize("which", ["scale", "scale/7"])
def test_permissions(store: LocalStore, which: str) -> None:
    os.chmod(store.path(which), 0)
    try:
        with pytest.raises(ReadError, match="EACCES"):
            store.read("scale/7", start=0, end=1, identity=identity_of(store, "scale/7"))
    finally:
        os.chmod(store.path(which), 0o700)


@posix  # Windows says that there is no such file
def test_a_file_in_a_directorys_place(store: LocalStore) -> None:
    with pytest.raises(ReadError, match="ENOTDIR"):
        store.identity("scale/7/0")


def test_what_is_no_regular_file(store: LocalStore) -> None:
    with pytest.raises(ShardError, match="a directory"):
        store.identity("scale")


@needs_proc
def test_at_most_64_descriptors_are_kept(store: LocalStore) -> None:
    gc.collect()  # volumes that earlier tests dropped close theirs with it
    before = open_descriptors()
    for _ in range(2):
        for number in range(100):
            name = f"scale/{number}"
            data = store.read(name, start=0, end=1, identity=identity_of(store, name))
            assert data == bytes([number])
            assert open_descriptors() - before <= 64
    assert open_descriptors() - before == 64
    store.close()
    assert open_descriptors() == before


@needs_proc
def test_many_threads_leave_no_descriptor_behind(store: LocalStore) -> None:
    gc.collect()  # volumes that earlier tests dropped close theirs with it
    before = open_descriptors()
    problems: list[Exception] = []

    def work(first: int) -> None:
        try:
            for step in range(200):
                number = (first * 13 + step) % 100
                name = f"scale/{number}"
                identity = identity_of(store, name)
                assert store.read(name, start=0, end=1, identity=identity) == bytes([number])
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert open_descriptors() - before <= 64
    store.close()
    assert open_descriptors() == before


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE"])
def test_too_many_open_files_drops_what_is_idle_and_tries_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    identity = closed_after_a_look(store, "scale/50")
    for number in range(10):
        store.read(
            f"scale/{number}", start=0, end=1, identity=identity_of(store, f"scale/{number}")
        )
    refused = refuse(name, monkeypatch, "open", times=1)
    assert store.read("scale/50", start=0, end=1, identity=identity) == bytes([50])
    assert refused == [1]
    assert len(store._handles) == 1


def test_other_refusals_are_not_tried_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = closed_after_a_look(store, "scale/50")
    refused = refuse("EACCES", monkeypatch, "open")
    with pytest.raises(ReadError):
        store.read("scale/50", start=0, end=1, identity=identity)
    assert refused == [1]


@posix
def test_a_real_limit_of_descriptors(store: LocalStore) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    identities = {n: identity_of(store, f"scale/{n}") for n in range(60)}
    spare = [os.open(store.path("scale/99"), os.O_RDONLY) for _ in range(5)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 10, before[1]))
    try:
        for number, identity in identities.items():
            data = store.read(f"scale/{number}", start=0, end=1, identity=identity)
            assert data == bytes([number])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in spare:
            os.close(descriptor)


@needs_proc
def test_stale_and_refused_reads_leave_no_descriptor_behind(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()  # volumes that earlier tests dropped close theirs with it
    before = open_descriptors()
    identity = identity_of(store, "scale/7")
    with pytest.raises(StaleFileError):
        store.read("scale/7", start=0, end=1, identity=identity._replace(size=1))
    with pytest.raises(StaleFileError):
        store.read("scale/7", start=100, end=101, identity=identity)
    with monkeypatch.context() as patch:
        refuse("EIO", patch, "pread")
        with pytest.raises(ReadError):
            store.read("scale/7", start=0, end=1, identity=identity)
    store.close()
    assert open_descriptors() == before


def reads(tiny: TinyVolume) -> list[Callable[[], Any]]:
    def fresh(read: Callable[[Any], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with open_volume(tiny.path, threads=2) as vol:
                return read(vol)

        return run

    return [
        fresh(lambda vol: vol.lookup([[0, 0, 0]], units="voxel", return_status=True)),
        fresh(lambda vol: vol.cutout(vol.bounds)),
        fresh(lambda vol: vol.stored_chunks(vol.bounds)),
    ]


@pytest.mark.parametrize("name", ["EACCES", "EIO", "EMFILE"])
@pytest.mark.parametrize("missing", ["error", "zero"])
@posix
def test_a_refusal_is_never_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, missing: str
) -> None:
    tiny = TinyVolume(tmp_path / "scale").write()
    true = os.open

    def refusing(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith(".shard"):
            raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
        return true(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        for read in reads(tiny):
            with pytest.raises(ReadError, match=name) as info:
                read()
            assert isinstance(info.value, OSError)
            assert info.value.errno == getattr(errno, name)
        with open_volume(tiny.path, missing=missing) as vol, pytest.raises(ReadError):
            vol.lookup([[0, 0, 0]], units="voxel", return_status=True)
    with open_volume(tiny.path) as vol:
        assert vol.lookup([0, 0, 0], units="voxel") == block_label(0, 0)


@posix
def test_a_volume_reads_again_after_a_refusal(
    tiny: TinyVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_volume(tiny.write().path) as vol:
        with monkeypatch.context() as patch:
            patch.setattr(
                os, "pread", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "pulled out"))
            )
            with pytest.raises(ReadError, match="EIO"):
                vol.lookup([0, 0, 0], units="voxel", return_status=True)
        assert vol.lookup([0, 0, 0], units="voxel") == block_label(0, 0)


@needs_proc
def test_a_store_that_outlives_its_module_closes_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the end of a process, where the names of modules go before what holds a volume."""
    (tmp_path / "file").write_bytes(b"x")
    store = LocalStore(str(tmp_path))
    before = open_descriptors()
    identity = identity_of(store, "file")
    assert store.read("file", start=0, end=1, identity=identity) == b"x"
    assert open_descriptors() == before + 1
    monkeypatch.setattr(store_module, "os", None)
    store.__del__()
    monkeypatch.undo()
    assert open_descriptors() == before
