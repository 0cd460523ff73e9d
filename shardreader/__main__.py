"""``python -m shardreader``."""

import sys

from shardreader.cli import main

if __name__ == "__main__":
    sys.exit(main())
