"""Where the bytes of a chunk are, and reading many chunks.

`choose_source` picks what locates chunks for a volume; `stored_reader` and `chunk_visit` read them.
`reading`, `labels` and `checking` use these.
"""
