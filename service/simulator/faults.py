"""Faults on demand: by chance, seeded, or always; each named as the control API names it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

RATE_REASONS = (
    "endpoint-rate",
    "global-rate",
    "endpoint-concurrency",
    "global-concurrency",
    "resource-specific",
)


@dataclass(slots=True)
class Faults:
    """Chances from 0 to 1 unless the name has a unit. *next* bounds how many requests are struck."""

    error_500: float = 0
    error_503: float = 0
    reset: float = 0
    reset_in_body: float = 0
    truncate: float = 0
    not_json: float = 0
    stall: float = 0
    stall_s: float = 5
    rate_429: float = 0
    reason_429: str = "endpoint-rate"
    lock_timeout: float = 0
    redirect: float = 0
    late_visibility_s: int = 0
    wrong_date_s: int = 0
    no_date: bool = False
    expand_timeout: int = 0
    empty_after_cursor: float = 0
    skip_second_after_cursor: float = 0
    permissions_removed: list[str] = field(default_factory=list)
    unauthorized: bool = False
    key_in_error: bool = False
    account_unknown: bool = False
    statuses: dict[str, int] = field(default_factory=dict)
    """Ids, and the status that each request gets which names one."""
    denied: list[str] = field(default_factory=list)
    """Refunds that are listed, and whose id is answered as unknown: a copy that lags."""
    next: int = -1

    def set(self, values: dict[str, object]) -> None:
        known = {f.name for f in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"no such fault: {name}")
            setattr(self, name, value)


CHANCES = (
    "error_500", "error_503", "reset", "reset_in_body", "truncate", "not_json", "stall", "rate_429",
    "lock_timeout", "redirect",
)  # fmt: skip


def strike(faults: Faults, chance: Random) -> str | None:
    """The fault that strikes this request, if any."""
    if faults.next == 0:
        return None
    for name in CHANCES:
        if (likely := getattr(faults, name)) and chance.random() < likely:
            faults.next -= faults.next > 0
            return name
    return None
