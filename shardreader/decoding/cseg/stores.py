"""Stores that pass the processor's caches by. Imports numba.

An ordinary store reads its line of memory first, which lines that are written whole do not need;
for arrays larger than the caches these are faster, for others slower.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["LINE_BYTES", "fence", "stream_item"]

LINE_BYTES = 64


def _store_past_caches(_context: Any, array: Any, index: Any, value: Any) -> tuple[Any, Any]:
    """Store an item without reading its line of memory first, which lines written whole allow."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index, value = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        stored = builder.store(
            value, builder.gep(data, [index]), align=signature.args[2].bitwidth // 8
        )
        yes = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        stored.set_metadata("nontemporal", yes)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


def _fence(_context: Any) -> tuple[Any, Any]:
    """Let other threads see what was stored past the caches."""

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


stream_item: Any = intrinsic(_store_past_caches)
"""``stream_item(array, index, value)``, index a uint64 and value of the array's type."""
fence: Any = intrinsic(_fence)
