"""The streams that coverage is kept of."""

from __future__ import annotations

REFUNDS = "refunds"
EVENTS = "events"


def settled(stream: str) -> str:
    """Its seconds listed at least a day after they passed: what became visible late is in those, too."""
    return f"{stream}:settled"


STREAMS = (REFUNDS, settled(REFUNDS))
"""Streams of refunds: their claims are checked against the stored rows."""
