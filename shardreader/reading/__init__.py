"""Boxes and points of an open volume.

`box_read` and `point_read` are behind `Volume.cutout` and `Volume.lookup`; `points` and `indexing`
turn what users pass into voxels. `volume`, `labels` and `compat` use them.
"""
