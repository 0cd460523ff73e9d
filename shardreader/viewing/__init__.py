"""A local copy in Neuroglancer, offline."""
