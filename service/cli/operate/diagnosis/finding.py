"""What an examination finds: what holds, or what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.domain.errors import RefundSyncError

CLOCKS_APART_S = 30


@dataclass(frozen=True, slots=True)
class Finding:
    level: str
    what: str
    says: str
    hint: str = ""
    exit_code: int = 1


def ok(what: str, says: str) -> Finding:
    return Finding("ok", what, says)


def warning(what: str, says: str, hint: str = "") -> Finding:
    return Finding("warning", what, says, hint)


def failed(what: str, error: RefundSyncError) -> Finding:
    return Finding("error", what, str(error), error.hint, error.exit_code)
