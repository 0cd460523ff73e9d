"""What the kernels can find wrong with an encoding, and how it is told to a person.

A kernel returns one integer: 0, or a fault code plus 16 times a number, which is the number of
the block, or of the channel where the code is :data:`CHANNEL_OFFSET`.  :func:`explain` reads the
encoding again, slowly, to say what was expected there and what was found.
"""

import numpy as np
import numpy.typing as npt

from shardreader.errors import FormatFault

Words = npt.NDArray[np.uint32]
Triple = tuple[int, int, int]

OK = 0
CHANNEL_OFFSETS_CUT = 1
CHANNEL_OFFSET = 2
BLOCK_HEADERS_CUT = 3
ENCODED_BITS = 4
LOOKUP_TABLE_OFFSET = 5
ENCODED_VALUES_OFFSET = 6
CODE = 7


def block_grid(cell_shape: Triple, block_size: Triple) -> Triple:
    """Number of blocks along x, y and z that cover a chunk.

    Examples
    --------
    >>> block_grid((128, 128, 23), (16, 16, 2))
    (8, 8, 12)
    """
    x, y, z = (-(-shape // block) for shape, block in zip(cell_shape, block_size, strict=True))
    return x, y, z


def explain(
    status: int,
    words: Words,
    num_channels: int,
    channel: int,
    cell_shape: Triple,
    block_size: Triple,
    label_words: int,
) -> FormatFault:
    """Say in words what a kernel's status means.

    Parameters
    ----------
    status : int
        What `decode_box` or `read_voxels` returned; not 0.
    words, num_channels, channel, cell_shape, block_size
        The arguments that the kernel had.
    label_words : int
        32-bit words in a label: 1 or 2.

    Returns
    -------
    FormatFault
        To be raised, or to be wrapped by a caller that knows the chunk and the file.

    Examples
    --------
    >>> words = np.array([1, 4 << 24 | 9, 3], "<u4")
    >>> print(explain(LOOKUP_TABLE_OFFSET, words, 1, 0, (8, 8, 8), (8, 8, 8), 2).found)
    9
    """
    code, number = status % 16, status // 16
    if code == CHANNEL_OFFSETS_CUT:
        return FormatFault(
            "offsets of the channels",
            expected=f"{num_channels} words of 32 bits",
            found=f"{len(words)} words in the whole encoding",
        )
    if code == CHANNEL_OFFSET:
        return _explain_channel_offset(number, words, num_channels)
    start = int(words[channel])
    end = int(words[channel + 1]) if channel + 1 < num_channels else len(words)
    grid = block_grid(cell_shape, block_size)
    header_words = 2 * grid[0] * grid[1] * grid[2]
    if code == BLOCK_HEADERS_CUT:
        return FormatFault(
            f"channel {channel} at byte {4 * start}",
            expected=f"at least {header_words} words of 32 bits ({grid[0]} x {grid[1]} x {grid[2]} "
            "block headers)",
            found=f"{end - start} words",
        )
    if code in (ENCODED_BITS, LOOKUP_TABLE_OFFSET, ENCODED_VALUES_OFFSET, CODE):
        block = _Block(number, grid, words[start:end], start, header_words)
        return block.explain(code, cell_shape, block_size, label_words)
    raise ValueError(f"{status} is not the status of a fault")


def _explain_channel_offset(number: int, words: Words, num_channels: int) -> FormatFault:
    if number == 0:
        expected = f"{num_channels} (the first channel follows the {num_channels} offsets)"
    else:
        expected = f"from {int(words[number - 1])} to {len(words)} (words of 32 bits)"
    return FormatFault(
        f"offset of channel {number} at byte {4 * number}",
        expected=expected,
        found=str(int(words[number])),
    )


class _Block:
    """One block of a channel, as its header describes it."""

    def __init__(
        self, number: int, grid: Triple, channel_words: Words, start: int, header_words: int
    ) -> None:
        self.position = (
            number % grid[0],
            number // grid[0] % grid[1],
            number // (grid[0] * grid[1]),
        )
        self.name = f"block {number} at {self.position}"
        self.words = channel_words
        self.start = start
        self.header = 2 * number
        self.header_words = header_words
        first, self.encoded_values_offset = (
            int(word) for word in channel_words[self.header : self.header + 2]
        )
        self.lookup_table_offset = first & 0xFFFFFF
        self.encoded_bits = first >> 24

    def explain(
        self, code: int, cell_shape: Triple, block_size: Triple, label_words: int
    ) -> FormatFault:
        if code == CODE:
            return self._explain_code(cell_shape, block_size, label_words)
        if code == ENCODED_BITS:
            return FormatFault(
                f"{self.name}: encoded bits at byte {4 * (self.start + self.header) + 3}",
                expected="0, 1, 2, 4, 8, 16 or 32",
                found=str(self.encoded_bits),
            )
        if code == LOOKUP_TABLE_OFFSET:
            what, word, offset = "lookup table offset", self.header, self.lookup_table_offset
            needed = label_words
        else:
            what, word, offset = (
                "encoded values offset",
                self.header + 1,
                self.encoded_values_offset,
            )
            volume = block_size[0] * block_size[1] * block_size[2]
            needed = -(-self.encoded_bits * volume // 32)
        return FormatFault(
            f"{self.name}: {what} at byte {4 * (self.start + word)}",
            expected=self._expected_offset(needed),
            found=str(offset),
        )

    def _expected_offset(self, needed: int) -> str:
        """The offsets at which `needed` words lie behind the headers and inside the channel."""
        total = len(self.words)
        if total - needed < self.header_words:
            return (
                f"{needed} words of 32 bits behind the {self.header_words} of the block headers, "
                f"in a channel of {total}"
            )
        return (
            f"from {self.header_words} (the end of the block headers) to {total - needed} "
            f"(the channel has {total} words of 32 bits, {needed} are needed)"
        )

    def _explain_code(
        self, cell_shape: Triple, block_size: Triple, label_words: int
    ) -> FormatFault:
        """The largest code of the block's voxels inside the chunk is one that goes too far."""
        corner = [p * b for p, b in zip(self.position, block_size, strict=True)]
        inside = [min(b, c - k) for b, c, k in zip(block_size, cell_shape, corner, strict=True)]
        z, y, x = np.indices(inside[::-1], dtype=np.int64).reshape(3, -1)
        bit = self.encoded_bits * (x + block_size[0] * (y + block_size[1] * z))
        word = self.encoded_values_offset + (bit >> 5)
        mask = (1 << self.encoded_bits) - 1
        codes = (self.words[word].astype(np.int64) >> (bit & 31)) & mask
        worst = int(codes.argmax())
        voxel = tuple(int(k + v[worst]) for k, v in zip(corner, (x, y, z), strict=True))
        entries = (len(self.words) - self.lookup_table_offset) // label_words
        return FormatFault(
            f"{self.name}: code of voxel {voxel} of the chunk, in the word at byte "
            f"{4 * (self.start + int(word[worst]))}",
            expected=f"at most {entries - 1} ({entries} labels fit between the lookup table's "
            "start and the end of the channel)",
            found=str(int(codes[worst])),
        )
