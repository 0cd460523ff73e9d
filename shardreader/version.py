"""The version of the package. Floor 0."""

__all__ = ["__version__"]

__version__ = "0.1.0"
