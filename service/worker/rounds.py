"""What the daemon does on each tick, and when: polls, hints, rechecks, revisits, the fill of history."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.adapters.web.metrics import Measured
from service.app import databases as places
from service.app import passes
from service.domain import pace
from service.domain.coverage.span import Span, span_or_none, total_seconds
from service.domain.coverage.stream import EVENTS, REFUNDS, settled
from service.domain.errors import PASSING, STRIPES, RefundSyncError
from service.jobs import plan
from service.ports.reads import reads_for
from service.ports.runs import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from service.adapters.web.metrics import Metrics
    from service.app.accounts import Account
    from service.app.passes import Gate, Planned
    from service.jobs.intake import Intake

NEWEST, FILL, HINTS, RECHECKS = "newest part", "fill of history", "hints", "rechecks"
SECOND_LOOK = plan.SECOND_LOOK
MEASURE = "measure"

RECHECK_EVERY_S = 600.0
"""How often the days are looked through for what is due: intervals are days."""
ASK_AGAIN_S = 3_600.0
FOLD_EVERY_S = 86_400.0
WEBHOOKS_ARRIVE_S = 86_400.0
BUDGET_FRESH_S = 60.0
"""The refunds of 30 days, which the read allowance grows with, are counted again this often."""


class Rounds:
    """The work of one account. Each method may fail with what its run fails with; none loops."""

    def __init__(
        self, account: Account, metrics: Metrics, intake: Intake | None, hinted: asyncio.Event
    ) -> None:
        self._account = account
        self._metrics = metrics
        self._intake = intake
        self._urgent = 0
        self._calm = asyncio.Event()
        self._calm.set()
        self._agreement = pace.WebhookTrust()
        self._disproved_at: datetime | None = None
        self._budget: tuple[float, pace.Budget] | None = None
        self._polled_s = float("-inf")
        self._rechecked_s = float("-inf")
        self._folded_s = float("-inf")
        self._refused_s = float("-inf")
        self._hinted = hinted
        self._provable: Span | None = None
        self._looked = True
        self.passed_at: float | None = None
        self.failed = ""
        """What the last poll failed with; empty if it passed."""

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """The fill of history makes no further read while the body lasts."""
        self._urgent += 1
        self._calm.clear()
        try:
            yield
        finally:
            self._urgent -= 1
            if not self._urgent:
                self._calm.set()

    def _now_s(self) -> float:
        return self._account.clock.now().timestamp()

    def _passed(self, since_s: float, wait_s: float) -> bool:
        """Whether so long has passed; nothing waits for a clock that was set back."""
        passed = self._now_s() - since_s
        return passed < 0 or passed >= wait_s

    async def budget(self) -> pace.Budget:
        """What recurring work may read, by the refunds that are stored by now."""
        if self._budget is None or self._passed(self._budget[0], BUDGET_FRESH_S):
            self._budget = (self._now_s(), await passes.budget(self._account))
        return self._budget[1]

    async def poll_interval_s(self) -> float:
        """Stretched by the allowance, and where webhooks report all that polls find. Shown as a metric."""
        interval_s = self._agreement.stretched((await self.budget()).poll_interval_s)
        self._metrics.poll_interval_s = interval_s
        return interval_s

    async def _available(self, kind: str) -> int:
        spent = await self._account.reads.spent(pace.WINDOW_DAYS)
        return (await self.budget()).available(kind, spent)

    async def poll(self) -> bool:
        """What is new of events and refunds, if a poll is due. Returns whether one was.

        Refunds are read though events cannot be had; then that is raised at the end.
        """
        if not self._passed(self._polled_s, await self.poll_interval_s() - 1):
            return False
        try:
            await self._poll()
        except RefundSyncError as error:
            self.failed = str(error)
            raise
        self.failed = ""
        return True

    async def _poll(self) -> None:
        began_s, progress, lost = self._now_s(), Progress(), None
        last = self._intake.last_at if self._intake else None
        with self.urgent(), reads_for(pace.POLLS), self._metrics.counting(progress):
            try:
                read_events = await self._read_events(progress)
            except STRIPES as error:
                lost = error
            wanted = await self._account.wanted()
            await self._cover(NEWEST, wanted, lambda s: plan.newest_part(s, wanted), progress)
        self._provable = span_or_none(
            wanted.start, min(wanted.end, progress.settle_bound or wanted.end)
        )
        self._polled_s, self.passed_at, self._looked = began_s, time.monotonic(), False
        self._hinted.set()
        if lost:
            raise lost
        reported = progress.written
        self._agree(
            last, found_unreported=bool(reported.hinted if read_events else reported.inserted)
        )

    async def look_again(self) -> None:
        """The second look at refunds, where a poll came before it and one is due."""
        if self._looked:
            return
        self._looked = True
        progress = Progress()
        with self.urgent(), self._metrics.counting(progress):
            await passes.look_again(self._account, await self._account.wanted(), progress)

    async def _read_events(self, progress: Progress) -> bool:
        """Whether they were read. A key that may not is not tried at every poll: somebody has to change it."""
        if not self._passed(self._refused_s, ASK_AGAIN_S):
            return False
        permitted = await passes.may_read_events(self._account, progress)
        if not permitted:
            self._refused_s = self._now_s()
        return permitted

    def _agree(self, before: datetime | None, *, found_unreported: bool) -> None:
        """Where one was lost, webhooks are believed again when the next has come.

        *before* is when the last had come as the poll began: some may be on their way while it goes on. A
        new refund has an event; only where none can be read does the refund itself say what was lost.
        """
        last = self._intake.last_at if self._intake else None
        if found_unreported:
            self._disproved_at = before
        fresh = last is not None and self._now_s() - last.timestamp() < WEBHOOKS_ARRIVE_S
        self._agreement.polled(
            found_unreported=found_unreported, webhooks_arrive=fresh and last != self._disproved_at
        )

    async def read_hints(self) -> int:
        """What hints name, as far as the budget goes."""
        progress = Progress()
        with self.urgent(), self._metrics.counting(progress):
            done = await passes.read_hints(
                self._account, progress, await self._available(pace.HINTS)
            )
        self._metrics.last_success[HINTS] = time.time()
        return done

    async def recheck(self) -> None:
        """What is due by state and age, then old days in turn; each as far as its budget goes.

        One that fails keeps none of the others from being read, and is raised at the end.
        """
        if not self._passed(self._rechecked_s, RECHECK_EVERY_S):
            return
        self._rechecked_s = self._now_s()
        failed = []
        with self.urgent():
            for work, kind in (
                (passes.list_due_days, pace.RECHECKS),
                (passes.read_due, pace.RECHECKS),
                (passes.revisit, pace.REVISITS),
            ):
                progress = Progress()
                try:
                    with self._metrics.counting(progress):
                        await work(self._account, progress, await self._available(kind))
                except PASSING as error:
                    failed.append(error)
            await passes.close_gaps(self._account)
        if self._passed(self._folded_s, FOLD_EVERY_S):
            self._folded_s = self._now_s()
            await passes.fold_claims(self._account)
        if failed:
            raise failed[0]
        self._metrics.last_success[RECHECKS] = time.time()

    async def fill(self) -> None:
        """History that is not covered yet, giving way to everything else before each read.

        What it stored may raise the allowance: the next poll need not wait as an empty table has it.
        """
        wanted = await self._account.wanted()
        if not (await plan.fill_of_history(self._account.store(), wanted)).spans:
            return
        progress = Progress()
        try:
            with reads_for(pace.BACKFILL), self._metrics.counting(progress):
                await self._cover(
                    FILL, wanted, lambda store: plan.fill_of_history(store, wanted), progress,
                    gate=self._calm.wait,
                )  # fmt: skip
        finally:
            self._budget = None

    async def _cover(
        self,
        job: str,
        wanted: Span,
        planned: Planned,
        progress: Progress,
        *,
        gate: Gate | None = None,
    ) -> None:
        short_s = await passes.cover(self._account, job, wanted, planned, progress, gate=gate)
        self._metrics.runs[job, "incomplete" if short_s else "ok"] += 1
        if not short_s:
            self._metrics.last_success[job] = time.time()

    async def measure(self) -> None:
        """Coverage as the metrics show it. No gap is what Stripe's clock kept the last poll from proving."""
        account, store = self._account, self._account.store()
        wanted = self._provable or await account.wanted()
        waiting = await places.waiting(account.database, account.id)
        measured = []
        for stream in (REFUNDS, settled(REFUNDS), EVENTS):
            covered = await store.covered(stream)
            missing = await plan.gaps_in(store, wanted, stream=stream)
            until = float(covered[-1].end) if covered else 0.0
            gap_s = 0.0 if stream == EVENTS else float(total_seconds(missing))
            measured.append(Measured(account.id, stream, until, gap_s, waiting["quarantined"]))
        self._metrics.measured = measured
        self._metrics.waiting = {kind: waiting[kind] for kind in ("due", "hinted")}
