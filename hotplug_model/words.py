"""Words that go with numbers."""

from __future__ import annotations


def counted(nr: int, noun: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{nr} {noun}" if nr == 1 else f"{nr} {noun}s"
