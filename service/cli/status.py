"""``status``: what is wanted, what is proven, what is missing."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from cyclopts import Parameter

from service.cli.app import Context, app, run_async
from service.cli.cover import QuarantinedError
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
    from service.wiring import places

    async with context.open_database() as database:
        told = await places.status(database, context.settings)
    context.emit(told, lambda: _text(told))
    if check:
        _judge(told["accounts"])


def _judge(accounts: list[dict[str, Any]]) -> None:
    if not accounts:
        raise DifferenceError("nothing was synced yet", hint="Begin: refund-sync sync")
    for is_so, told, hint, error in (
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
            raise error(f"{told}: {', '.join(ids)}", hint=hint)


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


def _text(told: dict[str, Any]) -> str:
    if not told["accounts"]:
        return "nothing synced yet; start with: refund-sync sync"
    return "\n\n".join(_account(account) for account in told["accounts"])


def _account(a: dict[str, Any]) -> str:
    run = a["last_run"]
    wanted = "nothing yet" if a["wanted"] is None else _span(a["wanted"])
    lines = [
        f"{a['account_id']}  {'live' if a['livemode'] else 'test'} mode  {a['refunds']:,} refunds",
        f"  wanted            {wanted}",
        f"  complete through  {a['complete_through'] or 'nothing yet'}",
        f"  current from      {a['current_from'] or 'not current'}",
        f"  second look       {_second_look(a)}",
        f"  quarantined       {a['quarantined']}",
        *_to_decode_again(a["to_decode_again"]),
        *_nets(a),
        f"  last run          {run['job']} {run['outcome']}, began {run['started_at']}"
        if run
        else "  last run          none",
        *(f"  failing           {f['job']}: {f['error']}" for f in a["failing"]),
        "  gaps              none" if not a["gaps"] else f"  gaps              {len(a['gaps'])}",
        *(f"    {_span(gap)}" for gap in a["gaps"][:GAPS_SHOWN]),
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
    told = ", ".join(f"{kind} {count:,}" for kind, count in reads.items()) or "none counted"
    stuck = (
        f", {rechecks['not_found']:,} that Stripe does not know" if rechecks["not_found"] else ""
    )
    overdue = f", {_overdue(a):,} overdue" if _overdue(a) else ""
    return [
        f"  events read       {'through ' + events['read_through'] if events['read_through'] else 'not yet'}",
        *(
            f"    expired unread  {_span(g['span'])}  {g['reason'] or 'being made up for'}"
            for g in events["expired"][:GAPS_SHOWN]
        ),
        f"  to read again     {rechecks['due']:,} due, {rechecks['hinted']:,} hinted at{overdue}{stuck}",
        f"  reads, 30 days    {told}; allowance {a['read_allowance']:,}",
        *(
            f"  oldest            {o['what']}: {o['id']}, since {o['since']}: {o['why']}"
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
        f"through {through}; a month is complete once this passes its end" if through else "not yet"
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


def _span(pair: list[str]) -> str:
    return f"[{pair[0]}, {pair[1]})"
