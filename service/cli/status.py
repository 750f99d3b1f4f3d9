"""``status``: what is wanted, what is proven, what is missing."""

from typing import Annotated, Any

from cyclopts import Parameter

from service.cli.app import Context, app, run_async
from service.cli.cover import QuarantinedError
from service.domain.errors import DifferenceError

Check = Annotated[
    bool,
    Parameter(name="--check", negative="", help="End with 7 on gaps, 8 on unresolved quarantine."),
]

GAPS_SHOWN = 10


@app.command
def status(*, check: Check = False, context: Context) -> None:
    """Show what is proven complete, and what is not. Asks nothing of Stripe, needs no key."""
    run_async(_status(context, check=check))


async def _status(context: Context, *, check: bool) -> None:
    from service import wiring

    async with wiring.open_database(context.settings, context.tell) as database:
        told = await wiring.status(database)
    context.emit(told, lambda: _text(told))
    if check:
        _judge(told["accounts"])


def _judge(accounts: list[dict[str, Any]]) -> None:
    with_gaps = [a["account_id"] for a in accounts if a["gaps"]]
    if with_gaps:
        raise DifferenceError(f"gaps: {', '.join(with_gaps)}", hint="Close them: refund-sync sync")
    with_quarantine = [a["account_id"] for a in accounts if a["quarantined"]]
    if with_quarantine:
        raise QuarantinedError(f"unresolved quarantine: {', '.join(with_quarantine)}")


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
        f"  quarantined       {a['quarantined']}",
        f"  last run          {run['job']} {run['outcome']}, began {run['started_at']}"
        if run
        else "  last run          none",
        "  gaps              none" if not a["gaps"] else f"  gaps              {len(a['gaps'])}",
        *(f"    {_span(gap)}" for gap in a["gaps"][:GAPS_SHOWN]),
    ]
    hidden = len(a["gaps"]) - GAPS_SHOWN
    return "\n".join(
        lines if hidden <= 0 else [*lines, f"    and {hidden} more (--json shows all)"]
    )


def _span(pair: list[str]) -> str:
    return f"[{pair[0]}, {pair[1]})"
