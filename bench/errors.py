"""The ways a measurement can fail."""

from __future__ import annotations

__all__ = ["CannotMeasure", "Unequal"]


class CannotMeasure(Exception):
    """What was asked for cannot be measured here; the message says why."""


class Unequal(Exception):
    """The two sides do not say the same."""
