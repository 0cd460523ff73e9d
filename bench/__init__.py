"""The benchmark suite of shardreader: ``python -m bench PATH`` (see bench/README.md)."""
