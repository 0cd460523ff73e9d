"""numba's cache of compiled functions, with a checksum: a damaged file counts as none.

numba unpickles what it finds, and runs it. A process that was killed or a full disk leaves files
that cannot be unpickled; other damage would be run. Imports numba.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import warnings
import zlib
from collections.abc import Callable
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

__all__ = ["CheckedCache"]

_CHECKSUM_BYTES = 4


class CheckedCache(FunctionCache):
    """The cache of one function.

    Parameters
    ----------
    function : callable
        As it was written, not compiled.

    Raises
    ------
    RuntimeError, OSError
        There is no directory to keep it in.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._cache_file = _CheckedFiles(  # type: ignore[no-untyped-call]
            cache_path=self._cache_path,
            # Not the names that numba gives to its own, which have no checksums.
            filename_base=f"{self._impl.filename_base}.checked",
            source_stamp=self._impl.locator.get_source_stamp(),
        )


class _CheckedFiles(IndexDataCacheFile):
    """An index and its data files, each of which ends with a checksum.

    It is that of the bytes before it and of what they belong to.
    """

    def _load_index(self) -> dict[Any, str]:
        data = self._checked(self._index_name, "")
        if data is None:
            return {}
        content = io.BytesIO(data)
        if pickle.load(content) != self._source():  # noqa: S301 (the checksum is right)
            return {}  # of another version; what follows may not even be unpickled by this one
        return dict(pickle.load(content))  # noqa: S301 (the checksum is right)

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._save(self._index_name, self._dump(self._source()) + self._dump(overloads), "")  # type: ignore[no-untyped-call]

    def _load_data(self, name: str) -> Any:
        # Of an index that is newer than the data, which a killed process leaves, this is not the
        # function.
        data = self._checked(name, self._source())
        return None if data is None else pickle.loads(data)  # noqa: S301 (the checksum is right)

    def _save_data(self, name: str, data: Any) -> None:
        self._save(name, self._dump(data), self._source())  # type: ignore[no-untyped-call]

    def _source(self) -> str:
        return repr((self._version, self._source_stamp))

    def _save(self, name: str, content: bytes, source: str) -> None:
        with self._open_for_write(self._data_path(name)) as file:  # type: ignore[no-untyped-call]
            file.write(content + _checksum(name, source, content))

    def _checked(self, name: str, source: str) -> bytes | None:
        """What a file holds; None where there is none, or a damaged one."""
        path = self._data_path(name)  # type: ignore[no-untyped-call]
        if not os.path.exists(path):
            return None
        with open(path, "rb") as file:
            content = file.read()
        data, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        if checksum != _checksum(name, source, data):
            _warn_of_damage()
            return None
        return data


def _checksum(name: str, source: str, content: bytes) -> bytes:
    owner = zlib.crc32(f"{name} {source}".encode())
    return zlib.crc32(content, owner).to_bytes(_CHECKSUM_BYTES, "little")


@functools.cache
def _warn_of_damage() -> None:
    warnings.warn(
        "compiled functions that numba keeps are damaged (a killed process, a full disk?): they "
        "are compiled anew, which takes seconds",
        stacklevel=2,
    )
