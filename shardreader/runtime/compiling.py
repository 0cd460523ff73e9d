"""Compile a kernel for one signature, cached on disk where that can be written.

Importing this imports numba.
"""

from __future__ import annotations

import functools
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import numba

# numba asks for it in the first call of a kernel. Imported there, by a thread without the lock
# around compiling, it would leave a child that is forked meanwhile waiting for ever.
import numpy.ma  # noqa: F401 (imported for that alone)

from shardreader.runtime.kernel_cache import CheckedCache

__all__ = ["INNER_OPTIONS", "KERNEL_OPTIONS", "compile_cached", "inlined"]

_njit: Any = numba.njit
# Without reference counts: atomic ones, of arrays, in each inlined call, would halve the speed.
KERNEL_OPTIONS = {"error_model": "numpy", "_nrt": False}
# Without the wrappers, which only a caller outside of compiled code needs, they compile faster.
INNER_OPTIONS = {
    **KERNEL_OPTIONS,
    "forceinline": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}

_Function = TypeVar("_Function", bound=Callable[..., Any])


def inlined(function: _Function) -> _Function:
    """Make a function a part of each kernel that calls it; it cannot be called otherwise."""
    return cast("_Function", _njit(**INNER_OPTIONS)(function))


def compile_cached(
    function: Callable[..., Any],
    signature: Any,
    *,
    nogil: bool = True,
    parts: tuple[ModuleType, ...] = (),
) -> Callable[..., Any]:
    """Compile for one signature; without numba's cache where that cannot be written.

    A kernel of a microsecond had better hold the interpreter lock: to get it back from another
    thread takes longer.

    numba's cache looks at the date of the file of `function` alone. `parts` are the other modules
    that its code comes from: it is kept under a name that changes with any of them.
    """
    if parts:
        function.__qualname__ = f"{function.__name__}_{_checksum(parts):08x}"
    try:
        compiled = _njit(nogil=nogil, **KERNEL_OPTIONS)(function)
        compiled._cache = CheckedCache(function)  # noqa: SLF001 (what `cache=True` does)
        compiled.compile(signature)
        compiled.disable_compile()
    except (RuntimeError, OSError):
        _warn_of_no_cache()
        compiled = _njit(signature, nogil=nogil, **KERNEL_OPTIONS)(function)
    return cast("Callable[..., Any]", compiled)


@functools.cache
def _checksum(modules: tuple[ModuleType, ...]) -> int:
    total = 0
    for module in modules:
        total = zlib.crc32(Path(str(module.__file__)).read_bytes(), total)
    return total


@functools.cache
def _warn_of_no_cache() -> None:
    warnings.warn(
        "numba finds no directory to keep compiled functions in: the kernels of shardreader are "
        "compiled anew in each process, which takes seconds. Set NUMBA_CACHE_DIR to a directory "
        "that can be written.",
        stacklevel=2,
    )
