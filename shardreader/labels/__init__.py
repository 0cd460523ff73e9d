"""Labels of a box without its voxels: which, how often, where; mapping and snapping.

`label_queries` is behind `Volume.labels` and its kin, `label_map` is the public `LabelMap`,
`snapping` the nearest label. `volume` and `segment_index` use them.
"""
