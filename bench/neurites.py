"""Labels like neurites: long, thin, touching, in bundles of three directions.

A label is a cell of a two-dimensional power diagram, drawn out along the axis of its bundle and
bent by slow waves. Between two cells lies a thin rough membrane of background, as between the
segments of a real segmentation: most blocks at a border then hold three labels, not two.

Every voxel is a function of its position and the seed, so a volume can be made piece by piece.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["fill_labels"]

# Lengths are in voxels of x and y; a voxel is Z_STEP of them deep (40 nm against 8 nm).
Z_STEP = 5.0
SPACING = 104.0  # between neurites
FINE_SPACING = 19.0  # between the thin ones of a fascicle
FASCICLES = 0.09  # share of the places of neurites that a fascicle of thin ones takes
BUNDLE = 700.0  # between bundles
MEMBRANE = 2.1  # half its thickness
ROUGHNESS = 1.8  # how far a border strays from its plane
WEIGHT = 1500.0  # how much neurites differ in size (square voxels)
WAVE = 26.0  # how far neurites meander
TILE = 4
BLOCK = 32

_inline = numba.njit(inline="always", error_model="numpy")
_inner = numba.njit(error_model="numpy", nogil=True)


@_inline
def _mix(value):
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@_inline
def _hash(seed, a, b, c):
    value = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(a + 4096)
    value = _mix(value) + np.uint64(b + 4096) * np.uint64(0xD1B54A32D192ED03)
    return _mix(value + np.uint64(c + 4096) * np.uint64(0x8CB92BA72F3D8DD7))


@_inline
def _part(value, shift):
    """A number from 0 to 1 out of 20 bits."""
    return float((value >> np.uint64(shift)) & np.uint64(0xFFFFF)) / 1048576.0


@_inner
def _bundle_at(seed, x, y, z):
    """The bundle of a position, and how far away the next one is at least."""
    gx, gy, gz = math.floor(x / BUNDLE), math.floor(y / BUNDLE), math.floor(z / BUNDLE)
    nearest, second, found = 1e30, 1e30, np.uint64(0)
    for k in range(gz - 1, gz + 2):
        for j in range(gy - 1, gy + 2):
            for i in range(gx - 1, gx + 2):
                bits = _hash(seed, i, j, k)
                dx = (i + _part(bits, 0)) * BUNDLE - x
                dy = (j + _part(bits, 20)) * BUNDLE - y
                dz = (k + _part(bits, 40)) * BUNDLE - z
                distance = dx * dx + dy * dy + dz * dz
                if distance < nearest:
                    nearest, second, found = distance, nearest, bits
                elif distance < second:
                    second = distance
    return found, (math.sqrt(second) - math.sqrt(nearest)) / 2


@_inner
def _neurite_at(bundle, u, v, spacing, weight):
    """The neurite at a place of the cross-section, and how far its border is away."""
    gu, gv = math.floor(u / spacing), math.floor(v / spacing)
    nearest, second, found = 1e30, 1e30, np.uint64(0)
    nearest_u, nearest_v, second_u, second_v = 0.0, 0.0, 0.0, 0.0
    for j in range(gv - 1, gv + 2):
        for i in range(gu - 1, gu + 2):
            bits = _hash(bundle, i, j, 0)
            seed_u, seed_v = (i + _part(bits, 0)) * spacing, (j + _part(bits, 20)) * spacing
            power = (seed_u - u) ** 2 + (seed_v - v) ** 2 - weight * _part(bits, 40)
            if power < nearest:
                second, second_u, second_v = nearest, nearest_u, nearest_v
                nearest, nearest_u, nearest_v, found = power, seed_u, seed_v, bits
            elif power < second:
                second, second_u, second_v = power, seed_u, seed_v
    apart = math.sqrt((nearest_u - second_u) ** 2 + (nearest_v - second_v) ** 2) + 1e-9
    return found, (second - nearest) / (2 * apart)


@_inline
def _cross_section(axis, x, y, z):
    """Two coordinates across and one along the bundle."""
    if axis == 0:
        return y, z, x
    if axis == 1:
        return x, z, y
    return x, y, z


@_inner
def _voxel(bundle, axis, x, y, z, noise_seed):
    """The label of one voxel, and how far the nearest border is away."""
    u, v, along = _cross_section(axis, x, y, z)
    phase = _part(bundle, 10) * 6.28
    u += WAVE * math.sin(along / 97.0 + phase) + WAVE * math.sin(along / 41.0 + v / 300.0)
    v += WAVE * math.sin(along / 83.0 - phase) + WAVE * math.sin(along / 53.0 + u / 300.0)
    neurite, border = _neurite_at(bundle, u, v, SPACING, WEIGHT)
    if border > MEMBRANE and _part(neurite, 33) < FASCICLES:
        neurite, fine = _neurite_at(neurite, u, v, FINE_SPACING, 0.0)
        border = min(border, fine)
    # Roughness in steps of a few voxels, as the borders of a traced segmentation have.
    noise = _part(_hash(noise_seed, int(x) >> 2, int(y) >> 2, int(z / Z_STEP)), 7) - 0.5
    label = np.uint64(1) + (neurite >> np.uint64(31))
    if border < MEMBRANE + ROUGHNESS * noise:
        label = np.uint64(0)
    return label, border


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill(out, x0, y0, z0, seed):
    nx, ny, nz = out.shape
    for k in range(nz):
        for block_y in range(0, ny, BLOCK):
            for block_x in range(0, nx, BLOCK):
                x, y = x0 + block_x + BLOCK / 2, y0 + block_y + BLOCK / 2
                bundle, apart = _bundle_at(seed, x, y, (z0 + k) * Z_STEP)
                if apart < BLOCK:
                    bundle = np.uint64(0)
                for tile_y in range(block_y, min(block_y + BLOCK, ny), TILE):
                    for tile_x in range(block_x, min(block_x + BLOCK, nx), TILE):
                        _fill_tile(out, tile_x, tile_y, k, x0, y0, z0, bundle, seed)


@_inner
def _fill_tile(out, tile_x, tile_y, k, x0, y0, z0, bundle, seed):
    """Fill a tile at once where no border is near; `bundle` is 0 where it has to be looked for."""
    z = (z0 + k) * Z_STEP
    x, y = x0 + tile_x + TILE / 2, y0 + tile_y + TILE / 2
    known = bundle != 0
    apart = 1e9
    if not known:
        bundle, apart = _bundle_at(seed, x, y, z)
    label, border = _voxel(bundle, bundle % np.uint64(3), x, y, z, seed)
    # Within this distance of the centre lies all of the tile, its meandering included.
    reach = TILE * 1.3
    one = apart > reach and border > reach + MEMBRANE + ROUGHNESS
    for j in range(tile_y, min(tile_y + TILE, out.shape[1])):
        for i in range(tile_x, min(tile_x + TILE, out.shape[0])):
            if not one:
                x, y = float(x0 + i), float(y0 + j)
                if apart <= reach:
                    bundle, _ = _bundle_at(seed, x, y, z)
                label, _ = _voxel(bundle, bundle % np.uint64(3), x, y, z, seed)
            out[i, j, k] = label


def fill_labels(
    out: NDArray[np.uint64], lower: tuple[int, int, int], seed: int
) -> NDArray[np.uint64]:
    """Fill an array (x, y, z) with the labels from the voxel `lower` on; returns it."""
    _fill(out, *lower, np.uint64(seed))
    return out
