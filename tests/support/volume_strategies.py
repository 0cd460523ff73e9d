"""Random specs of volumes, layouts of arrays and boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from volumes import Layout, Spec

from shardreader import Box

QUICK = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    # A failing example is small enough to read, and shrinking it takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
MOST_CHUNKS = 250
extents = st.one_of(st.sampled_from([1, 2, 3, 7, 13, 31, 37]), st.integers(1, 45))
offsets = st.one_of(st.just(0), st.integers(-1000, 1000), st.sampled_from([-(2**40), 2**40]))
encodings = st.sampled_from(["raw", "gzip"])


def triples(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any, Any]]:
    return st.tuples(values, values, values)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    size, chunk_size = draw(triples(extents)), draw(triples(st.integers(1, 24)))
    chunks = [-(-s // c) for s, c in zip(size, chunk_size, strict=True)]
    while np.prod(chunks) > MOST_CHUNKS:  # wider chunks along the axis that has most
        axis = int(np.argmax(chunks))
        chunk_size = tuple(2 * c if i == axis else c for i, c in enumerate(chunk_size))
        chunks = [-(-s // c) for s, c in zip(size, chunk_size, strict=True)]
    return Spec(
        size=size,
        chunk_size=chunk_size,
        block_size=draw(triples(st.integers(1, 17))),
        voxel_offset=draw(triples(offsets)),
        dtype=draw(st.sampled_from(["uint32", "uint64"])),
        preshift_bits=draw(st.one_of(st.integers(0, 9), st.just(64))),
        minishard_bits=draw(st.integers(0, 7)),
        shard_bits=draw(st.one_of(st.integers(0, 7), st.integers(8, 30))),
        index_encoding=draw(encodings),
        data_encoding=draw(encodings),
    )


layouts = st.builds(
    Layout,
    axes=st.permutations((0, 1, 2)).map(tuple),
    steps=triples(st.integers(1, 3)),
    reversed=triples(st.booleans()),
    gap_bytes=st.sampled_from([0, 0, 8, 16, 1, 4, 9]),
)


@st.composite
def boxes(draw: st.DrawFn, spec: Spec) -> Box:
    corners = [
        sorted((draw(st.integers(o, e)), draw(st.integers(o, e))))
        for o, e in zip(spec.voxel_offset, spec.upper, strict=True)
    ]
    return Box(tuple(low for low, _ in corners), tuple(high for _, high in corners))
