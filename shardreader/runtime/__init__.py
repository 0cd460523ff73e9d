"""What every package needs of Python and of the system: threads, forks, compiling, progress.

It holds the worker threads, what happens after a fork, the lock around compiling, files that are
written whole or not at all, and the progress bar. It knows nothing of volumes.
"""
