"""Boxes and points of an open volume.

`open_volume` has the open scale that all read from; `box_read`, `point_read` and `direct_read` are
behind `Volume.cutout` and `Volume.lookup`; `points` and `indexing`
turn what users pass into voxels. `volume`, `labels` and `compat` use them.
"""
