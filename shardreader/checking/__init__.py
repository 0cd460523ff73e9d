"""What is wrong with one shard: its index, its minishard indices, its chunks.

`shard_check` checks one shard file and gives `findings`; `block_faces` looks for a wrong block
size. `verification` and `fetching` use them.
"""
