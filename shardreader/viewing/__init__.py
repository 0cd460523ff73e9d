"""A local copy in Neuroglancer, offline. Floor 5."""
