"""Files that appear under their name only when they are whole; the head of .npy files."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

__all__ = ["is_occupied", "npy_header", "open_part", "replacing", "sync_directory", "write_all"]

_NPY_MAGIC = b"\x93NUMPY\x01\x00"
# A multiple of 64, with room for any column name that a table is likely to have.
_NPY_HEADER_BYTES = 1024


@contextmanager
def replacing(
    path: str | os.PathLike[str], *, part: str | os.PathLike[str] | None = None
) -> Iterator[BinaryIO]:
    """Open a binary file for writing that takes the name `path` when the block ends well.

    Until then the bytes are in a file beside it whose name ends in ``.part``;
    an exception removes that file and leaves whatever `path` was before.

    Parameters
    ----------
    path : path-like
        The name of the finished file; one that exists is replaced.
    part : path-like, optional
        The name until then, where the caller knows that nobody else writes it: what a killed
        process left of it is then written over by the next.

    Raises
    ------
    OSError
        The directory is missing, or may not be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     with replacing(directory + "/answer.txt") as file:
    ...         _ = file.write(b"42")
    ...     sorted(os.listdir(directory))
    ['answer.txt']
    """
    final = Path(path)
    if final.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory; name a file in it", str(final))
    # Keeps two runs, or threads, with the same output from writing into one file.
    writer = f"{os.getpid()}.{threading.get_ident()}"
    unfinished = Path(part or final.with_name(f".{final.name}.{writer}.part"))
    try:
        with _opened(unfinished, final) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, final)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def sync_directory(path: str) -> None:
    """Make a rename last; where directories cannot be opened, it lasts by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)


def _opened(part: Path, final: Path) -> BinaryIO:
    try:
        # Readable too: the TIFF library looks back at what it wrote.
        return open(part, "w+b")
    except OSError as error:
        error.filename = str(final)
        raise


def npy_header(dtype: np.dtype[Any], shape: tuple[int, ...], *, fortran_order: bool) -> bytes:
    """The head of a ``.npy`` file (version 1.0), of the same length for every shape.

    So it can be written before the length of an array is known, and again afterwards.

    Examples
    --------
    >>> from io import BytesIO
    >>> head = npy_header(np.dtype("<u8"), (4, 3), fortran_order=True)
    >>> np.load(BytesIO(head + bytes(96))).shape
    (4, 3)
    """
    text = repr(
        {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": fortran_order,
            "shape": shape,
        }
    )
    length = _NPY_HEADER_BYTES - len(_NPY_MAGIC) - 2
    return _NPY_MAGIC + length.to_bytes(2, "little") + text.ljust(length - 1).encode() + b"\n"


_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def open_part(path: str) -> int:
    """Open a file for reading and writing, with whatever is in it."""
    return os.open(path, _OPEN, 0o666)


def is_occupied(path: str) -> bool:
    """Whether something that is no regular file has this name."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def write_all(file: int, data: bytes) -> None:
    """Write all of the bytes at the present position."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
