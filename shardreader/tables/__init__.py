"""Tables of points, in and out: text, Parquet, SWC and ``.npy``.

`point_tables` chooses the reader by the file's name, `point_writers` the writer. The commands use
these two.
"""
