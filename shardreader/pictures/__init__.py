"""Pictures of slices and of a copy's shards, and image files.

`slice_picture` and `copy_picture` draw, `image_files` writes and reads images. `volume` and the
commands use them.
"""
