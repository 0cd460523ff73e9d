"""Labels of a box without its voxels: which, how often, where; mapping and snapping.

`count_role` and `mask_role` are roles of `Volume`, `translated_read` its cutouts with a mapping,
`label_map` the public `LabelMap`, `snapping` the nearest label. `volume`, `segments` and
`segment_index` use them.
"""
