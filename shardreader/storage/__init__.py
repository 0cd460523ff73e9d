"""Bytes by name and range, local and remote, and the version that they are of.

`local_store` and `remote_store` read; `documents` reads ``info`` and the manifest; `volume_path`
and `source_url` say where a volume is. Only these modules read the bytes of a volume.
"""
