"""The files whose functions are inlined into the kernels of this package."""

from pathlib import Path

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.py")))
"""A kernel kept by numba is stale when one of these has changed."""
