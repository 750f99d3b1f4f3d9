"""Verify as a run on record: the events first, the verdict, and what it asks to be repaired."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

from service.app import passes
from service.domain import pace
from service.domain.coverage.span import Span, merged, span_or_none, total_seconds
from service.jobs import plan
from service.jobs import verify as verifying
from service.ports.reads import reads_for
from service.ports.runs import Progress

if TYPE_CHECKING:
    from service.adapters.postgres.warehouse.store import PostgresStore
    from service.app.accounts import Account
    from service.jobs.record import Run


async def verify(
    account: Account, span: Span, progress: Progress, *, repair: bool
) -> tuple[verifying.Verdict, int, bool]:
    """The verdict, the seconds that stay unread or uncovered, and whether events could be asked."""
    with reads_for(pace.VERIFY):
        permitted = await passes.may_read_events(account, Progress())
        async with passes.recorded_run(account, "verify", span, progress) as (run, store):
            verdict, short_s = await _verified(account, run, store, span, progress, permitted)
            contradicted = await account.comparison(run).revoke_contradicted(span)
            verdict.found.revoked = merged([*verdict.found.revoked, *contradicted])
            verdict.found.contradicted = contradicted
            if repair:
                short_s += await _repaired(account, run, store, span, verdict, progress)
            if not verdict.holds:
                run.shortfall = verifying.summarize(verdict)
    return verdict, short_s, permitted


async def _verified(
    account: Account,
    run: Run,
    store: PostgresStore,
    span: Span,
    progress: Progress,
    permitted: bool,
) -> tuple[verifying.Verdict, int]:
    verifier = verifying.Verifier(
        account.uncached_source(), store, account.comparison(run), account.database.clock.now,
        (lambda: passes.read_events(account, Progress(), again=False)) if permitted else None,
        account.settings.concurrency, account.settings.drain_s,
    )  # fmt: skip
    return await verifier.verify(span, progress, chance=Random(time.time_ns()))


async def _repaired(
    account: Account,
    run: Run,
    store: PostgresStore,
    span: Span,
    verdict: verifying.Verdict,
    progress: Progress,
) -> int:
    """Reads again what is missing or differs, and marks what is gone. Returns the seconds left uncovered.

    Those that had not settled when Stripe was asked are not counted.
    """
    again, began = passes.rereader(account, store, progress), account.database.clock.now()
    missing = await plan.gaps_in(store, span)
    if missing:
        await again.list_again(missing, verifying.VERIFY)
    asked_at = account.database.clock.now()
    unlisted = [refund_id for refund_id, _ in verdict.found.unlisted]
    await account.comparison(run).miss(unlisted, asked_at, account.clock.now())
    chosen = verifying.Chosen(account.due(hinted=False), verifying.to_read(verdict))
    await again.drain(chosen, passes.UNBOUNDED, source=verifying.VERIFY)
    wrong = [*verdict.found.missing, *verdict.found.differing]
    verdict.unrepaired = await account.comparison(run).unread_since(wrong, began)
    settled = span_or_none(span.start, min(span.end, progress.settle_bound or span.end))
    return total_seconds(await plan.gaps_in(store, settled)) if settled else 0
