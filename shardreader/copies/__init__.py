"""What a copy holds and what its source has: listings, partial shards, patched info.

`shard_listing` says which shards are here, `listed_source` what a source lists; `partial_shard` and
`shard_writer` write shard files. `fetching`, `verification` and `chunks` use them.
"""
