"""Which metadata is kept, and which of its keys hold ids that are never taken for card numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

UNMASKED = "unmasked:"


@dataclass(frozen=True, slots=True)
class MetadataChoice:
    """*kept* is all keys, none, or those named; digits in the *unmasked* ones stay as they are."""

    kept: Literal["keep", "drop"] | frozenset[str]
    unmasked: frozenset[str]


def metadata_choice(text: str) -> MetadataChoice:
    """``keep``, ``drop`` or keys, comma-separated; ``unmasked:KEY`` next to them. Raises ValueError."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    named = {item for item in items if not item.startswith(UNMASKED)}
    unmasked = {item.removeprefix(UNMASKED).strip() for item in items if item.startswith(UNMASKED)}
    if not named or "" in unmasked:
        raise ValueError("says neither which keys are kept nor that all are")
    if named == {"keep"}:
        return MetadataChoice("keep", frozenset(unmasked))
    if named & {"keep", "drop"} and len(named) > 1:
        raise ValueError("keep and drop speak of all keys, and stand alone")
    if "drop" in named:
        named.clear()
    if not unmasked <= named:
        raise ValueError("only a key that is kept can be unmasked")
    return MetadataChoice(frozenset(named) if named else "drop", frozenset(unmasked))
