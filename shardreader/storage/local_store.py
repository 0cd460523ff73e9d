"""Positional reads of a local directory. With `remote_store` alone to read volume bytes.

No memory maps: a drive that goes away would kill the process.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from typing import Any, NamedTuple, Protocol

from shardreader.errors import ReadError, ShardError
from shardreader.runtime.fork_gate import not_forking

__all__ = [
    "FileIdentity",
    "FileVersion",
    "Handle",
    "LocalStore",
    "StaleFileError",
    "Store",
    "TooLargeError",
    "read_whole",
]

# macOS allows a process 256 descriptors.
MOST_HANDLES = 64
_READ_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)  # Windows
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a FIFO must not wait for a writer
)
_MOST_PER_CALL = 1 << 30  # some systems refuse a read of 2 GiB or more
_HAS_PREAD = hasattr(os, "pread")
# Windows does not replace a file that a reader holds, and `fetch` replaces shards.
_KEEPS_HANDLES = os.name != "nt"


class FileIdentity(NamedTuple):
    """What tells one version of a file from another."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class FileVersion(Protocol):
    """One version of a file, of whatever store; hashable, and equal to itself only."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def __hash__(self) -> int: ...


class Store(Protocol):
    """What the sources of chunks need of a store; see `LocalStore`."""

    root: str

    def path(self, name: str) -> str:
        """What to call a file in messages."""

    def identity(self, name: str) -> FileVersion | None:
        """The present version of a file; None where it does not exist."""

    def is_file(self, name: str) -> bool:
        """Whether there is a file of this name."""

    def is_directory(self, name: str) -> bool:
        """Whether there is a directory of this name."""

    def read(self, name: str, *, start: int, end: int, identity: Any) -> bytes:
        """The bytes ``[start, end)`` of a version of a file, all of them."""

    def hold(self, name: str, identity: Any) -> Handle | None:
        """An open descriptor of a version of a file, until `let_go`; None where files have none."""

    def hold_present(self, name: str) -> Handle | None:
        """As `LocalStore.hold_present`; None where files have no descriptors."""

    def let_go(self, name: str, handle: Handle) -> None:
        """The end of what `hold` or `hold_present` began."""

    def close(self) -> None:
        """Let go of what is open; a later read opens it anew."""

    def abandon(self) -> None:
        """Leave what a forked child shares with its parent."""


class StaleFileError(Exception):
    """The file is no longer the one that the read was planned for. Never leaves the package."""


class TooLargeError(Exception):
    """A document is larger than it may be; `size` in bytes. Never leaves the package."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Handle:
    """A descriptor that is in use, and the version of the file that it leads to."""

    def __init__(self, descriptor: int, identity: FileIdentity) -> None:
        self.descriptor = descriptor
        self.identity = identity
        self.users = 1


class LocalStore:
    """Files below one directory, read by position through a bounded set of descriptors.

    Names are relative to `root`, with ``/`` between components. Safe from many threads.

    Examples
    --------
    >>> store = LocalStore("fixtures/fafb-mini")
    >>> identity = store.identity("info")
    >>> store.read("info", start=0, end=1, identity=identity)
    b'{'
    >>> store.identity("no such file") is None
    True
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._prefix = root if root.endswith(os.sep) else root + os.sep
        self._handles: OrderedDict[str, Handle] = OrderedDict()
        # Also those that were replaced under their readers, which close them.
        self._all: set[Handle] = set()
        self._lock = threading.Lock()

    def path(self, name: str) -> str:
        """The whole path of a file, for messages and calls of the operating system."""
        if os.sep == "/" and ".." not in name and "./" not in name:
            return self._prefix + name
        return os.path.normpath(os.path.join(self.root, *name.split("/")))

    def identity(self, name: str) -> FileIdentity | None:
        """The present identity of a file; None where it does not exist.

        Raises
        ------
        ReadError
            The operating system gives another reason than "no such file".
        ShardError
            There is something else than a regular file.
        """
        path = self.path(name)
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise read_error(path, "look at it", error) from error
        return _identity(path, found)

    def is_file(self, name: str) -> bool:
        """Whether there is a file of this name; any trouble in finding out is a no."""
        return os.path.isfile(self.path(name))

    def is_directory(self, name: str) -> bool:
        """Whether there is a directory of this name; any trouble in finding out is a no."""
        return os.path.isdir(self.path(name))

    def read(self, name: str, *, start: int, end: int, identity: FileIdentity) -> bytes:
        """The bytes ``[start, end)`` of a file, all of them.

        Raises
        ------
        StaleFileError
            The file is not the one of `identity` any more, or ends before `end`.
        ReadError
            The operating system refuses.
        """
        handle = self.hold(name, identity)
        try:
            data = _read_at(handle.descriptor, start, end - start)
        except OSError as error:
            raise read_error(self.path(name), f"read its bytes [{start}, {end})", error) from error
        finally:
            self.let_go(name, handle)
        if len(data) != end - start:
            raise StaleFileError(name)
        return data

    def hold(self, name: str, identity: FileIdentity) -> Handle:
        """An open descriptor of a version of a file, which stays open until `let_go`.

        Raises
        ------
        StaleFileError, ReadError
            As `read`.
        """
        return self._take(name, identity) or self._open_anew(name, identity)

    def hold_present(self, name: str) -> Handle | None:
        """As `hold`, of whatever version is there now; None where there is no such file.

        Raises
        ------
        StaleFileError, ReadError, ShardError
            As `identity` and `hold`.
        """
        if name not in self._handles:
            try:
                return self._open_anew(name, None)
            except StaleFileError:
                return None
        identity = self.identity(name)
        return None if identity is None else self.hold(name, identity)

    def let_go(self, name: str, handle: Handle) -> None:
        """The end of what `hold` or `hold_present` began; each one once."""
        with self._lock:
            stays = _KEEPS_HANDLES and self._handles.get(name) is handle
            if handle.users > 1 or (stays and len(self._handles) <= MOST_HANDLES):
                handle.users -= 1
                return
        with not_forking, self._lock:
            handle.users -= 1
            if handle.users:
                return
            if self._handles.get(name) is not handle:
                self._shut(handle)
            elif _KEEPS_HANDLES:
                self._drop_idle(keep=MOST_HANDLES)
            else:
                del self._handles[name]
                self._shut(handle)

    def close(self) -> None:
        """Close the descriptors, those in use once let go; a later read opens them anew."""
        with not_forking, self._lock:
            self._drop_idle(keep=0)
            self._handles.clear()

    def abandon(self) -> None:
        """Close the descriptors in a forked child, where the lock may be held by nobody."""
        while self._all:
            self._close(self._all.pop().descriptor)

    def __del__(self) -> None:
        # Of a volume that nobody closed. Without a lock: nobody else has it any more.
        self.abandon()

    # At the end of the process the names of this module may be gone before its last store is.
    _close = staticmethod(os.close)

    def _shut(self, handle: Handle) -> None:
        self._all.discard(handle)
        os.close(handle.descriptor)

    def _take(self, name: str, identity: FileIdentity) -> Handle | None:
        with self._lock:
            handle = self._handles.get(name)
            if handle is None or handle.identity != identity:
                return None
            handle.users += 1
            self._handles.move_to_end(name)
            return handle

    def _open_anew(self, name: str, identity: FileIdentity | None) -> Handle:
        """Open a version of a file; None is the present one."""
        path = self.path(name)
        with not_forking:
            try:
                descriptor = self._descriptor(path)
            except FileNotFoundError:
                raise StaleFileError(name) from None
            except OSError as error:
                raise read_error(path, "open it", error) from error
            try:
                found = _identity(path, os.fstat(descriptor))
                if identity is not None and found != identity:
                    raise StaleFileError(name)
            except OSError as error:
                os.close(descriptor)
                raise read_error(path, "look at it", error) from error
            except BaseException:
                os.close(descriptor)
                raise
            return self._keep(name, Handle(descriptor, found))

    def _keep(self, name: str, handle: Handle) -> Handle:
        with self._lock:
            before = self._handles.pop(name, None)
            if before is not None and before.users == 0:
                self._shut(before)
            self._handles[name] = handle
            self._all.add(handle)
            self._drop_idle(keep=MOST_HANDLES)
        return handle

    def _descriptor(self, path: str) -> int:
        try:
            return os.open(path, _READ_FLAGS)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        with self._lock:
            self._drop_idle(keep=0)
        return os.open(path, _READ_FLAGS)

    def _drop_idle(self, keep: int) -> None:
        """Close the least recently used descriptors that nobody reads from. Needs the lock."""
        if len(self._handles) <= keep:
            return
        for name, handle in list(self._handles.items()):
            if len(self._handles) <= keep:
                return
            if handle.users == 0:
                del self._handles[name]
                self._shut(handle)


def read_whole(path: str, most_bytes: int) -> bytes | None:
    """The whole of a small local file, in as few calls of the system as can be; None for no file.

    Raises
    ------
    TooLargeError
        It has more than `most_bytes`.
    StaleFileError
        It changes while it is read.
    ReadError, ShardError
        As `LocalStore.identity`.
    """
    with not_forking:
        try:
            descriptor = os.open(path, _READ_FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise read_error(path, "open it", error) from error
        try:
            identity = _identity(path, os.fstat(descriptor))
            if identity.size > most_bytes:
                raise TooLargeError(identity.size)
            data = _read_at(descriptor, 0, identity.size)
        except OSError as error:
            raise read_error(path, "read it", error) from error
        finally:
            os.close(descriptor)
    if len(data) != identity.size:
        raise StaleFileError(path)
    return data


def _identity(path: str, found: os.stat_result) -> FileIdentity:
    if not stat.S_ISREG(found.st_mode):
        raise ShardError(
            f"{path}: expected a regular file, found {_file_type(found.st_mode)}; "
            "move it away and copy the file from the source again"
        )
    return FileIdentity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _file_type(mode: int) -> str:
    names = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "a special file")


def _read_at(descriptor: int, position: int, length: int) -> bytes:
    """Up to `length` bytes from `position`; fewer only at the end of the file."""
    pieces = []
    while length > 0:
        wanted = min(length, _MOST_PER_CALL)
        if _HAS_PREAD:
            piece = os.pread(descriptor, wanted, position)
        else:
            with _seeking:
                os.lseek(descriptor, position, os.SEEK_SET)
                piece = os.read(descriptor, wanted)
        if not piece:
            break
        pieces.append(piece)
        position += len(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


# Where a read moves the position of the descriptor, which others may use too.
_seeking = threading.Lock()


def read_error(path: str, action: str, error: OSError) -> ReadError:
    """An operating system's refusal as a `ReadError` that says which file and what to do."""
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    result = ReadError(
        f"{path}: cannot {action}: {error.strerror or error} ({name}); this says nothing about "
        "the data: check the drive, the permissions and the limits, then try again"
    )
    result.errno = error.errno
    return result
