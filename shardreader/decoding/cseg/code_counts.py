"""How often a block of 1, 2 or 4 bits uses each code; importing this imports numba.

No code is looked at by itself. 64 codes are turned into planes, one for each of their bits; of any
set of bits it is then counted at once how many codes have all of them, and in the end how many are
each code. Rules as in `kernels`.
"""

# The types of a kernel are those of the signature of its caller; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from shardreader.runtime.compiling import inlined

MOST_CODES = 16
"""Of 4 bits."""

USUAL = np.int64(512)
"""Voxels of a block of 16 x 16 x 2, or 8 x 8 x 8."""

_0, _1, _2, _4, _8, _32 = (np.int64(number) for number in (0, 1, 2, 4, 8, 32))
_ONE, _TWO, _THREE = np.uint64(1), np.uint64(2), np.uint64(3)
_HALF_BITS = np.uint64(32)
# The first of every 2 bits; the first of every 4; the first two of every 4.
_FIRST_OF_2 = np.uint64(0x5555555555555555)
_FIRST_OF_4 = np.uint64(0x1111111111111111)
_FIRST_2_OF_4 = np.uint64(0x3333333333333333)

# numba's annotations know no decorated function.
_intrinsic: Any = intrinsic


@_intrinsic
def _population(_typing_context, _word_type):
    """How many bits of a uint64 are 1."""

    def generate(_context, builder, _signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@inlined
def codes_in_window(words, values, bit, width):
    """The `width` (at most 32) bits from `bit` on, as a uint64."""
    at = values + (bit >> 5)
    shift = bit & 31
    codes = np.uint64(words[np.uint64(at)])
    if shift + width > 32:
        codes |= np.uint64(words[np.uint64(at + 1)]) << np.uint64(32)
    return codes >> np.uint64(shift) & ((_ONE << np.uint64(width)) - _ONE)


@inlined
def _long_word(words, at):
    """Two words as one."""
    return np.uint64(words[np.uint64(at)]) | np.uint64(words[np.uint64(at + 1)]) << _HALF_BITS


@inlined
def _ones(plane):
    return np.int64(_population(plane))


@inlined
def _add_planes_of_3(a, b, c, sums, first):
    """Add to the sums of the bits of `first` and any of three more, but not to that of none."""
    sums[first + 1] += _ones(a)
    sums[first + 2] += _ones(b)
    sums[first + 3] += _ones(a & b)
    sums[first + 4] += _ones(c)
    sums[first + 5] += _ones(a & c)
    sums[first + 6] += _ones(b & c)
    sums[first + 7] += _ones(a & b & c)


@inlined
def _add_planes_of_4(a, b, c, d, sums):
    _add_planes_of_3(a, b, c, sums, _0)
    # Most blocks of 4 bits have at most 8 labels.
    if d != 0:
        sums[8] += _ones(d)
        _add_planes_of_3(a & d, b & d, c & d, sums, _8)


@inlined
def _add_64_of_4_bits(words, at, sums):
    """Add the 64 codes in 8 words: 4 by 4 bits of 4 long words change places."""
    a, b = _long_word(words, at), _long_word(words, at + 2)
    c, d = _long_word(words, at + 4), _long_word(words, at + 6)
    swap = (a >> _TWO ^ c) & _FIRST_2_OF_4
    a, c = a ^ swap << _TWO, c ^ swap
    swap = (b >> _TWO ^ d) & _FIRST_2_OF_4
    b, d = b ^ swap << _TWO, d ^ swap
    swap = (a >> _ONE ^ b) & _FIRST_OF_2
    a, b = a ^ swap << _ONE, b ^ swap
    swap = (c >> _ONE ^ d) & _FIRST_OF_2
    c, d = c ^ swap << _ONE, d ^ swap
    _add_planes_of_4(a, b, c, d, sums)


@inlined
def _add_4_bits(words, values, bit, end, sums):
    """Add the codes in the bits [bit, end); item s of `sums` is of those with all bits of s."""
    if bit & 31 == 0:
        while end - bit >= 256:
            _add_64_of_4_bits(words, values + (bit >> 5), sums)
            bit += 256
    while bit < end:
        width = min(_32, end - bit)
        codes = codes_in_window(words, values, bit, width)
        a, b = codes & _FIRST_OF_4, codes >> _ONE & _FIRST_OF_4
        c, d = codes >> _TWO & _FIRST_OF_4, codes >> _THREE & _FIRST_OF_4
        _add_planes_of_4(a, b, c, d, sums)
        bit += width


@inlined
def _sums_of_64(words, at):
    """Of the 64 codes of 2 bits in 4 words: how many are odd, are above 1, and are 3."""
    one, other = _long_word(words, at), _long_word(words, at + 2)
    low = one & _FIRST_OF_2 | (other & _FIRST_OF_2) << _ONE
    top = one >> _ONE & _FIRST_OF_2 | other & ~_FIRST_OF_2
    return _ones(low), _ones(top), _ones(low & top)


@inlined
def _sums_of_2_bits(words, values, bit, end):
    """How many codes in the bits [bit, end) are odd, are above 1, and are 3."""
    odd = high = both = np.int64(0)
    if bit & 31 == 0:
        while end - bit >= 128:
            a, b, c = _sums_of_64(words, values + (bit >> 5))
            odd, high, both = odd + a, high + b, both + c
            bit += 128
    while bit < end:
        width = min(_32, end - bit)
        codes = codes_in_window(words, values, bit, width)
        low, top = codes & _FIRST_OF_2, codes >> _ONE & _FIRST_OF_2
        odd, high, both = odd + _ones(low), high + _ones(top), both + _ones(low & top)
        bit += width
    return odd, high, both


@inlined
def _sum_of_1_bit(words, values, bit, end):
    ones = np.int64(0)
    if bit & 31 == 0:
        while end - bit >= 64:
            ones += _ones(_long_word(words, values + (bit >> 5)))
            bit += 64
    while bit < end:
        width = min(_32, end - bit)
        ones += _ones(codes_in_window(words, values, bit, width))
        bit += width
    return ones


@inlined
def add_codes(words, bits, values, block_size, first, shape, counts, at, stride, sums):
    """Count the codes of `shape` voxels of a block of 1, 2 or 4 bits, from its voxel `first` on.

    The number of those with code c is added to item ``at + stride * c`` of `counts`.
    """
    row, rows, planes = shape
    total = row * rows * planes
    # Rows, and planes, that lie one after the other are counted as one.
    if row == block_size[0]:
        row, rows = row * rows, np.int64(1)
        if shape[1] == block_size[1]:
            row, planes = row * planes, np.int64(1)
    odd = high = both = np.int64(0)
    if bits == 4:
        for code in range(MOST_CODES):
            sums[code] = 0
    for z in range(planes):
        for y in range(rows):
            voxel = first[0] + block_size[0] * (first[1] + y + block_size[1] * (first[2] + z))
            bit, end = bits * voxel, bits * (voxel + row)
            if bits == 1:
                odd += _sum_of_1_bit(words, values, bit, end)
            elif bits == 2:
                a, b, c = _sums_of_2_bits(words, values, bit, end)
                odd, high, both = odd + a, high + b, both + c
            else:
                _add_4_bits(words, values, bit, end, sums)
    if bits == 4:
        _add_exact(sums, total, counts, at, stride)
    else:
        _add_few(bits, total, odd, high, both, counts, at, stride)


@inlined
def add_usual_codes(words, bits, values, counts, at, stride, sums):
    """As `add_codes`, for a whole block of `USUAL` voxels: its loops have a constant length."""
    odd = high = both = np.int64(0)
    if bits == 4:
        for code in range(MOST_CODES):
            sums[code] = 0
        for step in range(8):
            _add_64_of_4_bits(words, values + 8 * step, sums)
        _add_exact(sums, USUAL, counts, at, stride)
        return
    if bits == 1:
        for step in range(8):
            odd += _ones(_long_word(words, values + 2 * step))
    else:
        for step in range(8):
            a, b, c = _sums_of_64(words, values + 4 * step)
            odd, high, both = odd + a, high + b, both + c
    _add_few(bits, USUAL, odd, high, both, counts, at, stride)


@inlined
def _add_few(bits, total, odd, high, both, counts, at, stride):
    counts[np.uint64(at)] += total - odd - high + both
    counts[np.uint64(at + stride)] += odd - both
    if bits == 2:
        counts[np.uint64(at + 2 * stride)] += high - both
        counts[np.uint64(at + 3 * stride)] += both


@inlined
def _add_exact(sums, total, counts, at, stride):
    sums[0] = total
    _make_exact(sums)
    for code in range(MOST_CODES):
        counts[np.uint64(at + stride * code)] += sums[code]


@inlined
def _take_off(sums, step):
    for code in range(MOST_CODES):
        if code & step == 0:
            sums[code] -= sums[code + step]


@inlined
def _make_exact(sums):
    """From how many codes have all bits of a number to how many are that number."""
    _take_off(sums, _1)
    _take_off(sums, _2)
    _take_off(sums, _4)
    _take_off(sums, _8)
