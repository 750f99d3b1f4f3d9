"""What is done for an account, each as a run on record: covering, events, hints, rechecks, cancel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from service.adapters.postgres.coverage import fold
from service.adapters.postgres.operations import runs as records
from service.adapters.postgres.rechecks import due as rechecks
from service.adapters.postgres.warehouse.store import PostgresStore
from service.adapters.stripe.http.errors import EVENTS_PERMISSION, StripeAccessError
from service.domain import pace
from service.domain.batch import FETCH, Batch
from service.domain.coverage.span import Span
from service.domain.coverage.stream import EVENTS, REFUNDS
from service.domain.errors import AccessError, StripeAwayError
from service.jobs import events as expiry
from service.jobs import plan, recheck
from service.jobs.cover import Cover, Covering, always
from service.jobs.fetch import Fetched, listed
from service.jobs.fetch import fetch as fetch_each
from service.jobs.record import Run, recorded
from service.ports.reads import reads_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.app.accounts import Account
    from service.domain.batch import Reading
    from service.ports.lists import ListSource
    from service.ports.runs import Progress
    from service.ports.warehouse import RefundStore

log = structlog.get_logger(__name__)

Planned = Callable[[PostgresStore], Awaitable[Covering]]
Gate = Callable[[], Awaitable[object]]

UNBOUNDED = 10**9
MANY = 5_000
"""After so many new refunds the planner's idea of the tables is out of date, and not every server notices soon."""
REVISITED_BY_SYNC = 5
"""Pages of old days that one sync lists again, of those that it is the turn of."""


@asynccontextmanager
async def recorded_run(
    account: Account, job: str, wanted: Span | None, progress: Progress
) -> AsyncIterator[tuple[Run, PostgresStore]]:
    """A run on record around the body, and the store that its claims name it in.

    Whoever is stopped while it begins ends it all the same.
    """
    runs = records.Runs(account.database, account.reads)
    run = Run(uuid4(), job)
    async with recorded(runs, run, progress):
        await runs.begin(run.id, job, account.id, wanted)
        yield run, account.store(run)


async def cover(
    account: Account,
    job: str,
    wanted: Span,
    planned: Planned,
    progress: Progress,
    *,
    gate: Gate | None = None,
    source: ListSource | None = None,
) -> int:
    """Runs one covering as a recorded run. Returns the seconds of it that stay unread."""
    async with recorded_run(account, job, wanted, progress) as (run, store):
        covering = await planned(store)
        engine = Cover(
            source or account.source,
            store,
            progress,
            concurrency=account.settings.concurrency,
            drain_s=account.settings.drain_s,
            gate=gate or always,
        )
        await engine.run(covering)
        if covering.stream == REFUNDS and progress.settle_bound is not None:
            await store.settle(progress.settle_bound)
        if progress.written.inserted >= MANY:
            await account.database.execute("analyze")
        short_s = engine.shortfall_s()
        if short_s:
            run.shortfall = f"{short_s} seconds of the span were not read"
    return short_s


async def look_again(account: Account, wanted: Span, progress: Progress) -> int:
    """The second look at refunds, if one is due. Returns the seconds that stay unread."""
    covering = await plan.second_look(account.store(), wanted)
    return await _looked(account, covering, progress, None)


async def _looked(
    account: Account, covering: Covering, progress: Progress, source: ListSource | None
) -> int:
    if not covering.spans:
        return 0

    async def planned(_: PostgresStore) -> Covering:
        return covering

    span = Span(covering.spans[0].start, covering.spans[-1].end)
    with reads_for(pace.RECHECKS):
        return await cover(account, plan.SECOND_LOOK, span, planned, progress, source=source)


async def read_events(account: Account, progress: Progress, *, again: bool = True) -> int:
    """The events since the last time, as hints. Returns the seconds that stay unread.

    What expired until then is recorded, by a key that may read events: without it nothing is expected of
    them. *again* also lists those of yesterday once more.
    """
    bound = await account.settle_bound()
    now = account.clock.now()
    now_s = bound + account.settings.settle_lag_s
    wanted = expiry.wanted_events(account.met_s, now_s, bound)
    if wanted is None:
        return 0
    source = account.events()
    short_s = await cover(
        account, EVENTS, wanted, lambda s: plan.all_events(s, wanted), progress, source=source
    )
    lost = await expiry.note_expired(
        account.store(), account.gaps(), met_s=account.met_s, now_s=now_s, now=now
    )
    for span in lost:
        log.warning("events.expired", account_id=account.id, span=str(span))
    if again:
        looked = await plan.second_look(account.store(), wanted, stream=EVENTS)
        short_s += await _looked(account, looked, progress, source)
    return short_s


async def may_read_events(account: Account, progress: Progress) -> bool:
    """Reads the events; False where the key may not, which is said: then rechecks alone find changes."""
    try:
        await read_events(account, progress)
    except StripeAccessError as error:
        if error.permission != EVENTS_PERMISSION:
            raise
        log.warning("events.not_permitted", account_id=account.id, hint=error.hint)
        return False
    return True


def rereader(account: Account, store: RefundStore, progress: Progress) -> recheck.Rereader:
    return recheck.Rereader(
        account.source, store, account.clock, account.database.clock.now, progress,
        account.settings.concurrency, account.settings.drain_s,
    )  # fmt: skip


async def budget(account: Account) -> pace.Budget:
    settings = account.settings
    allowance = settings.read_allowance
    if allowance is None:
        allowance = pace.allowance_of(None, await account.reads.refunds_of_30_days())
    return pace.Budget(allowance, settings.read_share, settings.sync_interval_s)


async def read_hints(account: Account, progress: Progress, most: int) -> int:
    """Reads what hints name, in at most *most* reads. Returns how many objects that were."""
    return await _drained(account, progress, most, hinted=True)


async def read_due(account: Account, progress: Progress, most: int) -> int:
    """Reads what is due by its state, or ambiguous, in at most *most* reads."""
    return await _drained(account, progress, most, hinted=False)


async def _drained(account: Account, progress: Progress, most: int, *, hinted: bool) -> int:
    due = account.due(hinted=hinted)
    if most < 1 or not await due.due(account.clock.now(), 1):
        return 0
    name = "hint" if hinted else "recheck"
    with reads_for(pace.HINTS if hinted else pace.RECHECKS):
        async with recorded_run(account, f"{name}s", None, progress) as (_, store):
            return await rereader(account, store, progress).drain(due, most, source=name)


async def list_due_days(account: Account, progress: Progress, most: int) -> int:
    """Lists young days again that are due, in about *most* reads. Returns how many seconds of them."""
    if most < 1:
        return 0
    due, now = account.due(hinted=False), account.clock.now()
    spans = await recheck.days_due(due, account.gaps(), now, most)
    return await _listed(account, progress, spans, pace.RECHECKS) if spans else 0


async def close_gaps(account: Account) -> None:
    """Closes gaps in events that everything was read again for."""
    for span in await account.gaps().close(account.clock.now()):
        log.info("events.gap_closed", account_id=account.id, span=str(span))


async def fold_claims(account: Account) -> None:
    """Folds the claims of months long past, and forgets old runs, so that their number does not grow with time."""
    now = account.clock.now()
    await rechecks.redate(account.database, account.id, now)
    folded = await fold.fold_claims(account.database, account.id, now)
    await records.tidy_runs(account.database, account.id, now)
    if folded:
        log.info("claims.folded", account_id=account.id, spans=folded)


async def revisit(account: Account, progress: Progress, most: int) -> int:
    """Lists old days again, in turn."""
    due, now = account.due(hinted=False), account.clock.now()
    spans = await recheck.days_to_revisit(due, account.settings.since_s, now, most)
    return await _listed(account, progress, spans, pace.REVISITS) if spans else 0


async def _listed(account: Account, progress: Progress, spans: list[Span], kind: str) -> int:
    whole = Span(spans[0].start, spans[-1].end)
    with reads_for(kind):
        async with recorded_run(account, kind, whole, progress) as (run, store):
            short_s = await rereader(account, store, progress).list_again(spans, "recheck")
            if short_s:
                run.shortfall = f"{short_s} seconds of the span were not read"
    return sum(span.seconds for span in spans)


async def catch_up(account: Account, progress: Progress) -> None:
    """Everything that is due now, unpaced, and a few old days in turn: what `sync` does at its end."""
    for work in (read_hints, list_due_days, read_due):
        await work(account, progress, UNBOUNDED)
    await revisit(account, progress, REVISITED_BY_SYNC)
    await close_gaps(account)
    await fold_claims(account)


async def fetch(account: Account, ids: list[str], progress: Progress) -> Fetched:
    """Reads these refunds, or those of a charge or payment, now: those that are stored in the fewest reads."""
    due = account.due(hinted=False)
    async with recorded_run(account, "fetch", None, progress) as (run, store):
        plain = replace(account, source=account.uncached_source())

        async def list_again(noting: RefundStore, spans: Sequence[Span]) -> None:
            await rereader(plain, noting, progress).list_again(spans, FETCH)

        known = await listed(await due.stored(ids, FETCH), due, store, list_again)
        left = [object_id for object_id in ids if object_id not in known]
        fetched = await fetch_each(account.source, store, left, progress)
        fetched.refund_ids = [*(i for i in ids if i in known), *fetched.refund_ids]
        if fetched.not_found:
            run.shortfall = f"Stripe does not know {len(fetched.not_found)} of the ids"
    return fetched


async def cancel(account: Account, refund_id: str, progress: Progress) -> Reading:
    """Cancels a refund at Stripe, and writes what came of it at once. The only thing that writes there.

    Its ledger lines are read after that; where they cannot be, it is cancelled none the less.
    """
    async with recorded_run(account, "cancel", None, progress) as (_, store):
        reading = await account.source.cancel(refund_id, idempotency_key=f"refund-sync-{uuid4()}")
        progress.written.add(await store.write(Batch([reading], [], "cancel")))
        try:
            await fetch_each(account.source, store, [refund_id], progress)
        except (AccessError, StripeAwayError) as error:
            log.warning("cancel.ledger_not_read", id=refund_id, error=str(error))
    return reading
