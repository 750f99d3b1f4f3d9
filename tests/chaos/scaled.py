"""``refund-sync`` with hours and days of its rules scaled to seconds, and with a database clock that steps.

The rules have no branch for this: their constants are set before the modules that use them are imported, and the
clock is moved where ``DatabaseClock`` reads it, by the seconds that a file holds.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

SETTLED_AFTER_S = 6
CONFIRM_S = 2
CLOCK = "CHAOS_CLOCK"


def scale() -> None:
    from service.domain import recheck

    recheck.CONFIRM_S = CONFIRM_S
    recheck.QUARANTINE_AGAIN_S = 1
    recheck.BACKOFF_S = (1, 1, 2, 2, 3)

    from service.adapters.postgres.rechecks import due, queue

    queue.HIDDEN_AGAIN = due.GONE_AGAIN = timedelta(seconds=2)

    from service.jobs import cover

    cover.SETTLED_AFTER_S = SETTLED_AFTER_S

    from service.worker import life, refusal, rounds

    refusal.ASK_AGAIN_S = 0.5
    rounds.ASK_AGAIN_S = 1.0
    rounds.RECHECK_EVERY_S = 1.0
    rounds.FOLD_EVERY_S = 3.0
    life.HINTS_EVERY_S = 1.0


def step_the_clock(file: Path) -> None:
    from service.adapters.postgres.session.clock import DatabaseClock

    true_now = DatabaseClock.now

    def now(self: DatabaseClock) -> datetime:
        return true_now(self) + timedelta(seconds=float(file.read_text() or 0))

    DatabaseClock.now = now  # type: ignore[method-assign] # a clock that somebody sets


if __name__ == "__main__":
    scale()
    step_the_clock(Path(os.environ[CLOCK]))
    from service.cli import main

    main()
