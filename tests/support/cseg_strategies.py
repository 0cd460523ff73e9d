"""What the tests of compressed_segmentation draw: label types, seeds, boxes, volumes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

label_types = st.sampled_from([np.uint32, np.uint64])
seeds = st.integers(0, 2**32 - 1)


def triples(smallest, largest):
    return st.tuples(*[st.integers(smallest, largest)] * 3)


def boxes(shape):
    """Half-open boxes in a shape, none empty."""
    corners = [
        st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True).map(sorted) for n in shape
    ]
    return st.tuples(*corners).map(lambda axes: tuple(zip(*axes, strict=True)))


@st.composite
def blocky_volumes(draw, dtype):
    """Labels in lumps, as in a segmentation, with noise here and there."""
    shape = draw(triples(1, 20))
    rng = np.random.default_rng(draw(seeds))
    palette = rng.integers(0, np.iinfo(dtype).max, size=40, dtype=dtype, endpoint=True)
    lumps = rng.integers(draw(st.integers(1, 40)), size=[n // 5 + 1 for n in shape])
    volume = lumps.repeat(5, 0).repeat(5, 1).repeat(5, 2)[: shape[0], : shape[1], : shape[2]]
    noise = rng.integers(40, size=shape)
    volume = np.where(rng.random(shape) < draw(st.sampled_from([0, 0, 0.02, 0.5])), noise, volume)
    return np.asfortranarray(palette[volume])
