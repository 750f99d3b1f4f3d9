"""How many reads a month is worth, and how they are shared out. Pure; reads are counted elsewhere.

Stripe allows an account 500 reads a transaction over 30 days, and never fewer than 10,000. Covering for
the first time is paid for by its refunds. What reads again and again keeps to a share of the allowance:
polls first, at an interval that the share can bear; of what is left each class has a minimum of its own,
and what others leave. Nothing ever stops: budgets refill as time passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOOR = 10_000
PER_REFUND = 500
MONTH_S = 30 * 86_400
WINDOW_DAYS = 3
"""Days whose reads count against the budgets: what was not used for longer is not saved up."""

POLLS, HINTS, RECHECKS, REVISITS = "polls", "hints", "rechecks", "revisits"
BACKFILL, ASKED, VERIFY = "backfill", "asked", "verify"
RECURRING = (POLLS, HINTS, RECHECKS, REVISITS)
CLASSES = (*RECURRING, BACKFILL, ASKED, VERIFY)

POLL_PART = 0.576
"""Of the share: one read for refunds and one for events every 30 minutes at Stripe's floor."""
STREAMS = 2
SLOWEST_POLL_S = 86_400.0
RELAXED_POLL_S = 1_800.0
MINIMUM = {HINTS: 0.5, RECHECKS: 0.3, REVISITS: 0.05}
"""Of what polls leave."""


def allowance_of(setting: int | None, refunds_in_30_days: int) -> int:
    return setting or max(FLOOR, PER_REFUND * refunds_in_30_days)


@dataclass(frozen=True, slots=True)
class Budget:
    """Reads that recurring work may make: *share* of *allowance* in 30 days, polls at *wished_s* at best."""

    allowance: int
    share: float
    wished_s: float

    @property
    def reads(self) -> float:
        return self.allowance * self.share

    @property
    def poll_interval_s(self) -> float:
        """Seconds between two polls, of refunds and events each."""
        bearable = MONTH_S * STREAMS / (self.reads * POLL_PART)
        return min(max(self.wished_s, bearable), max(SLOWEST_POLL_S, self.wished_s))

    @property
    def _left(self) -> float:
        """Reads in the window that polls leave, were they all made."""
        polls = STREAMS * MONTH_S / self.poll_interval_s
        return (
            max(self.reads - polls, self.reads * (1 - POLL_PART)) * WINDOW_DAYS * 86_400 / MONTH_S
        )

    def available(self, kind: str, spent: Mapping[str, int]) -> int:
        """Reads that this class may make now; *spent* counts those of the window, by class.

        Its own minimum, one read at least, or all that is left beyond the unused minimums of the others.
        """
        least = {name: max(1.0, part * self._left) for name, part in MINIMUM.items()}
        unused = {name: reads - spent.get(name, 0) for name, reads in least.items()}
        others = sum(max(0.0, left) for name, left in unused.items() if name != kind)
        total = self._left - sum(spent.get(name, 0) for name in MINIMUM)
        return max(0, int(max(unused[kind], total - others)))


@dataclass(slots=True)
class WebhookTrust:
    """Whether webhooks report all that polls find: then polls need not be as frequent.

    Each poll that found nothing new while webhooks arrived doubles the interval, up to half an hour;
    the first that found something that they had not reported ends it.
    """

    doublings: int = 0

    MOST = 6

    def polled(self, *, found_unreported: bool, webhooks_arrive: bool) -> None:
        if found_unreported or not webhooks_arrive:
            self.doublings = 0
        else:
            self.doublings = min(self.doublings + 1, self.MOST)

    def stretched(self, interval_s: float) -> float:
        return max(interval_s, min(interval_s * 2.0**self.doublings, RELAXED_POLL_S))
