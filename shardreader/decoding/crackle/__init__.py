"""Voxels of a crackle encoding: a box of them, or whole slices.

Specification: the README of crackle (seung-lab/crackle), "Stream Format".

Importing this does not import numba; the first call does, and compiles the kernels or takes them
from numba's cache.
"""

from shardreader.decoding.crackle.slices import decode_box, decode_slices, labels_of_slices
from shardreader.decoding.crackle.stream import most_encoded_bytes

__all__ = ["decode_box", "decode_slices", "labels_of_slices", "most_encoded_bytes"]
