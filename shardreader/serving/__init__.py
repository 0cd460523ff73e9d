"""A local copy over HTTP, for Neuroglancer and other readers of this machine. Floor 5."""
