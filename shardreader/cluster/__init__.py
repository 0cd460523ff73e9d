"""Dask: arrays whose blocks are read by workers, and jobs that workers run.

`dask_array` is behind `Volume.to_dask`, `dask_runner` behind ``--scheduler``. `volume` and
`verification` use them.
"""
