"""``backfill`` and ``sync``: the one job over the spans that were asked for."""

import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from service.cli import text
from service.cli.app import Context, app, run_async
from service.cli.progress import Standing, shown
from service.cli.spans import pair, span_of
from service.domain.coverage.span import Span
from service.domain.errors import DifferenceError, RefundSyncError, StripeAwayError
from service.domain.pace import BACKFILL, POLLS
from service.ports.reads import reads_for
from service.ports.runs import Progress

if TYPE_CHECKING:
    from service.app.accounts import Account

From = Annotated[
    str | None,
    Parameter(name="--from", help="First instant; a date means its first. Default: SINCE."),
]
To = Annotated[str | None, Parameter(name="--to", help="Up to, not including. Default: now.")]
Month = Annotated[str | None, Parameter(name="--month", help="A month in UTC, such as 2026-01.")]
DryRun = Annotated[
    bool, Parameter(name="--dry-run", negative="", help="Read one page, write nothing, estimate.")
]


class QuarantinedError(RefundSyncError):
    """The run ended well, having set aside what could not be decoded."""

    exit_code = 8


@app.command
def backfill(
    *,
    start: From = None,
    end: To = None,
    month: Month = None,
    dry_run: DryRun = False,
    context: Context,
) -> None:
    """Cover a past span: read what is not proven yet, hydrated, and prove it.

    Safe to interrupt and to repeat: it goes on where it was, and reads nothing twice.
    """
    first, last = span_of(start, end, month, since=context.settings.since_s, now=int(time.time()))
    if dry_run:
        run_async(_estimate(context, first, last), stopped="nothing was written")
    else:
        run_async(_backfill(context, first, last, standing := Standing()), stopped=standing)


@app.command
def sync(*, context: Context) -> None:
    """Bring everything that is wanted up to date, newest first, then exit.

    Reads what is new, the events that report changes, and all that is due to be read again.
    """
    run_async(_sync(context, standing := Standing()), stopped=standing)


async def _backfill(context: Context, first: int, last: int, standing: Standing) -> None:
    from service.app import passes
    from service.jobs import plan
    from service.jobs.cover import Covering

    async with context.open_account() as account:
        bound = await account.settle_bound()
        wanted = plan.wanted_of(first, last, bound)
        if wanted.span is None:
            context.report(_left_out(first, last))
            context.emit({"job": "backfill", "span": None, "left_out": pair(Span(first, last))})
            return

        span = wanted.span

        async def missing(store: Any) -> Covering:
            return Covering(await plan.gaps_in(store, span))

        began = time.perf_counter()
        async with _followed(context, account, span, standing) as progress:
            with reads_for(BACKFILL):
                short_s = await passes.cover(account, "backfill", span, missing, progress)
        reached = min(span.end, progress.settle_bound or span.end)
        left_out = Span(reached, last) if reached < last else None
        _report(context, account.id, "backfill", span, progress, began, left_out)
        _judge(short_s, progress)


async def _sync(context: Context, standing: Standing) -> None:
    from service.app import passes
    from service.jobs import plan

    async with context.open_account() as account:
        await account.want()
        wanted = await account.wanted()
        began = time.perf_counter()
        async with _followed(context, account, wanted, standing) as progress:
            with reads_for(POLLS):
                lost = await _lost(passes.may_read_events(account, progress))
            with reads_for(BACKFILL):
                short_s = await passes.cover(
                    account, "sync", wanted, lambda store: plan.all_of(store, wanted), progress
                )
            short_s += await passes.look_again(account, wanted, progress)
            await passes.catch_up(account, progress)
        _report(context, account.id, "sync", wanted, progress, began, None)
        if lost:
            raise lost
        _judge(short_s, progress)


async def _lost(work: Awaitable[object]) -> StripeAwayError | None:
    """What kept *work* from being done, to be raised when all else is."""
    try:
        await work
    except StripeAwayError as error:
        return error
    return None


@asynccontextmanager
async def _followed(
    context: Context, account: "Account", span: Span, standing: Standing
) -> AsyncIterator[Progress]:
    """The progress of a command that covers *span*: shown while it runs and when it is stopped."""
    from service.domain.coverage.stream import REFUNDS

    progress, store = Progress(), account.store()
    async with (
        standing.of(progress, span, lambda: store.covered(REFUNDS)),
        shown(context, progress, "covering"),
    ):
        yield progress


def _judge(short_s: int, progress: Progress) -> None:
    if short_s:
        raise DifferenceError(
            f"{short_s} seconds of the span were not read",
            hint="Run the same command again; `refund-sync status` shows the gaps.",
        )
    if progress.written.quarantined:
        raise QuarantinedError(
            f"objects that could not be decoded, now in quarantine: {progress.written.quarantined}",
            hint="Everything else is stored. `refund-sync status` counts them, refund_sync.quarantine holds them.",
        )


def _report(
    context: Context,
    account_id: str,
    job: str,
    span: Span,
    progress: Progress,
    began: float,
    left_out: Span | None,
) -> None:
    written = progress.written
    reported: dict[str, Any] = {
        "account_id": account_id,
        "job": job,
        "span": pair(span),
        "left_out": pair(left_out) if left_out else None,
        "seconds": round(time.perf_counter() - began, 3),
        "requests": progress.requests,
        "unread": progress.unread,
        **{name: getattr(written, name) for name in written.__slots__},
    }
    if left_out:
        context.report(_left_out(left_out.start, left_out.end))
    if written.late:
        context.report(f"{written.late} refunds arrived late, in seconds that were covered before")
    if written.returned:
        context.report(
            f"{written.returned} refunds that were marked gone or hidden are listed again"
        )
    context.emit(reported, lambda: _sentence(reported))


def _sentence(reported: dict[str, Any]) -> str:
    rate = (reported["inserted"] + reported["changed"] + reported["unchanged"]) / max(
        reported["seconds"], 0.001
    )
    left_out = "".join(
        f", {reported[name]:,} {words}" for name, words in LEFT_OUT if reported[name]
    )
    return (
        f"{reported['job']}: {reported['inserted']:,} new, {reported['changed']:,} changed,"
        f" {reported['unchanged']:,} unchanged{left_out} in {reported['seconds']:.1f} s"
        f" ({reported['requests']:,} requests, {rate:,.0f} refunds/s)"
    )


LEFT_OUT = (
    ("stale", "read too late to count"),
    ("quarantined", "not decoded"),
    ("unread", "not given by Stripe, to be asked for again"),
)
"""What a run met and did not store, so that its sentence accounts for all that it read."""


def _left_out(start: int, end: int) -> str:
    return (
        f"left out, not settled yet: {text.span(pair(Span(start, end)))}; what is newer than SETTLE_LAG_S is"
        " proven by a later run"
    )


async def _estimate(context: Context, first: int, last: int) -> None:
    from service.app import accounts
    from service.app import databases as places

    settings = context.settings
    found = await accounts.estimate(settings, first, last)
    allowance = await places.read_allowance(settings)
    reported = {
        "gaps": [pair(gap) for gap in found.gaps],
        "estimated_refunds": found.refunds,
        "estimated_reads": found.reads,
        "minutes_at_limit": found.reads / settings.endpoint_rate / 60,
        "read_allowance": allowance,
        "share_of_allowance": found.reads / allowance,
    }
    context.emit(reported, lambda: _estimated(reported))


def _estimated(reported: dict[str, Any]) -> str:
    gaps = (
        "\n".join(f"  [{start}, {end})" for start, end in reported["gaps"])
        or "  none: all is covered"
    )
    basis = (
        "as if all of it were as dense as its newest page, the one that was read"
        if reported["gaps"]
        else "read nothing"
    )
    return (
        f"gaps:\n{gaps}\n"
        f"estimated: {reported['estimated_refunds']:,} refunds, {reported['estimated_reads']:,} reads,"
        f" {reported['minutes_at_limit']:.1f} minutes at the limit,"
        f" {reported['share_of_allowance']:.1%} of a month's read allowance of {reported['read_allowance']:,}\n"
        f"{basis}; wrote nothing"
    )
