"""The specification as values and arithmetic: grid, Morton code, sharding, info, indices.

Nothing here reads a file, but for `info` and the manifest, which are handed their bytes. Every
package above uses `grid.Box`, `info.Info`, `sharding`, `shard_index`, `manifest` and `coverage`.
"""
