"""From the stored bytes of one chunk to its voxels, points or labels.

`inflate` takes off gzip and zstd, `chunk_decoder` chooses the encoding, `cseg` and
`whole_chunk_codecs` read it. The packages `chunks`, `checking`, `reading` and `labels` use them.
"""
