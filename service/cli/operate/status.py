"""``status``: what is wanted, what is proven, what is missing."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from cyclopts import Parameter

from service.cli.app import Context, app, run_async
from service.cli.sync.backfill import QuarantinedError
from service.cli.text import day, since, span, when, when_at_latest
from service.domain.errors import DifferenceError

Check = Annotated[
    bool,
    Parameter(
        name="--check",
        negative="",
        help="End with 7 on gaps, overdue rechecks or where nothing was read for a day, 8 on"
        " unresolved quarantine.",
    ),
]

GAPS_SHOWN = 10


@app.command
def status(*, check: Check = False, context: Context) -> None:
    """Show what is proven complete, and what is not. Asks nothing of Stripe, needs no key."""
    run_async(_status(context, check=check))


async def _status(context: Context, *, check: bool) -> None:
    from service.app import databases as places

    async with context.open_database() as database:
        reported = await places.status(database, context.settings)
    context.emit(reported, lambda: _text(reported))
    if check:
        _judge(reported["accounts"])


def _judge(accounts: list[dict[str, Any]]) -> None:
    if not accounts:
        raise DifferenceError("nothing was synced yet", hint="Begin: refund-sync sync")
    for is_so, problem, hint, error in (
        (_silent, "nothing was read for a day", "Find out why no daemon and no sync ran.",
         DifferenceError),
        (_with_gaps, "gaps", "Close them: refund-sync sync", DifferenceError),
        (_overdue, "rechecks are overdue by twice their interval",
         "Read what is due: refund-sync sync, or keep the daemon running.", DifferenceError),
        (_quarantined, "unresolved quarantine",
         "The payloads are in refund_sync.quarantine, with the reasons.", QuarantinedError),
    ):  # fmt: skip
        ids = [a["account_id"] for a in accounts if is_so(a)]
        if ids:
            raise error(f"{problem}: {', '.join(ids)}", hint=hint)


def _silent(account: dict[str, Any]) -> bool:
    day_ago = datetime.now(UTC) - timedelta(days=1)
    wanted = account["wanted"]
    return wanted is None or datetime.fromisoformat(wanted[1]) < day_ago


def _with_gaps(account: dict[str, Any]) -> bool:
    return bool(account["gaps"])


def _quarantined(account: dict[str, Any]) -> bool:
    return bool(account["quarantined"])


def _overdue(account: dict[str, Any]) -> int:
    rechecks = account["rechecks"]
    return int(rechecks["overdue"] + rechecks["days_overdue"])


def _text(reported: dict[str, Any]) -> str:
    if not reported["accounts"]:
        return "nothing synced yet; start with: refund-sync sync"
    return "\n\n".join(_account(account) for account in reported["accounts"])


def sentence(a: dict[str, Any], now: datetime) -> str:
    """What can be relied on, first of all; "nothing is missing" only where nothing is."""
    if a["wanted"] is None or not (a["complete_through"] or a["current_from"]):
        return "Nothing is complete yet; read it: refund-sync sync"
    start, end = day(a["wanted"][0]), since(a["wanted"][1], now)
    odd = f"{a['quarantined']:,} could not be decoded" if a["quarantined"] else ""
    if not a["gaps"]:
        return f"Complete from {start} until {end}; {odd or 'nothing is missing'}."
    parts = [
        f"from {start} until {when(a['complete_through'])}" if a["complete_through"] else "",
        f"from {when_at_latest(a['current_from'])} until {end}" if a["current_from"] else "",
    ]
    count = len(a["gaps"])
    missing = f"{count:,} gap{'s' if count > 1 else ''} {'are' if count > 1 else 'is'} missing: refund-sync sync"
    return (
        f"Complete {' and '.join(filter(None, parts))}; {', '.join(filter(None, (odd, missing)))}"
    )


def _account(a: dict[str, Any]) -> str:
    run = a["last_run"]
    wanted = "nothing yet" if a["wanted"] is None else span(a["wanted"])
    lines = [
        sentence(a, datetime.now(UTC)),
        f"  account           {a['account_id']}, {'live' if a['livemode'] else 'test'} mode",
        f"  refunds           {a['refunds']:,}",
        f"  wanted            {wanted}",
        f"  second look       {_second_look(a)}",
        f"  quarantined       {a['quarantined']}",
        *_to_decode_again(a["to_decode_again"]),
        *_nets(a),
        f"  last run          {run['job']} {run['outcome']}, began {when(run['started_at'])}"
        if run
        else "  last run          none",
        *(f"  failing           {f['job']}: {f['error']}" for f in a["failing"]),
        "  gaps              none" if not a["gaps"] else f"  gaps              {len(a['gaps'])}",
        *(f"    {span(gap)}" for gap in a["gaps"][:GAPS_SHOWN]),
    ]
    hidden = len(a["gaps"]) - GAPS_SHOWN
    return "\n".join(
        lines if hidden <= 0 else [*lines, f"    and {hidden} more (--json shows all)"]
    )


def _to_decode_again(count: int) -> list[str]:
    """Refunds that an older version stored, whose ids it may have masked: each when next listed."""
    return [f"  to decode again   {count:,}, each when it is next listed"] if count else []


def _nets(a: dict[str, Any]) -> list[str]:
    events, rechecks, reads = a["events"], a["rechecks"], a["reads_30_days"]
    reported = ", ".join(f"{kind} {count:,}" for kind, count in reads.items()) or "none counted"
    stuck = (
        f", {rechecks['not_found']:,} that Stripe does not know" if rechecks["not_found"] else ""
    )
    overdue = f", {_overdue(a):,} overdue" if _overdue(a) else ""
    return [
        f"  events read       {'through ' + when(events['read_through']) if events['read_through'] else 'not yet'}",
        *(
            f"    expired unread  {span(g['span'])}  {g['reason'] or 'being made up for'}"
            for g in events["expired"][:GAPS_SHOWN]
        ),
        f"  to read again     {rechecks['due']:,} due, {rechecks['hinted']:,} hinted at{overdue}{stuck}",
        f"  reads, 30 days    {reported}; allowance {a['read_allowance']:,}",
        *(
            f"  oldest            {o['what']}: {o['id']}, since {when(o['since'])}: {o['why']}"
            for o in a["oldest_open"]
        ),
        *_misdated(a["misdated"]),
        f"  polls             every {a['poll_interval_s']:,.0f} s, or less often where webhooks arrive",
        f"  daemon            {a['daemon'] or 'none'}",
    ]


def _second_look(a: dict[str, Any]) -> str:
    """A month is complete a day after its end at the earliest, when its last day was listed once more."""
    through = a["settled_through"]
    return (
        f"through {when(through)}; a month is complete once this passes its end"
        if through
        else "not yet"
    )


def _misdated(counts: dict[str, int]) -> list[str]:
    some = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    if not some:
        return []
    return [
        (
            f"  dated ahead       {some}: the database's clock was ahead when they were written;"
            " they count as never read until they are read again"
        )
    ]
