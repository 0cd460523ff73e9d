"""A progress bar on standard error, if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(
    total: int | None, unit: str, *, wanted: bool = True
) -> Iterator[Callable[[int], None]]:
    """A function that takes how much is done so far.

    Parameters
    ----------
    total : int or None
        None where the end is not known.
    unit : str
        What is counted.
    wanted : bool
    """
    if not wanted or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, unit_scale=True, file=sys.stderr) as bar:

        def show(done: int) -> None:
            bar.update(done - bar.n)

        yield show
