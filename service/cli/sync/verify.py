"""``verify``: what is stored, against what Stripe lists now."""

import time
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from service.cli.app import Context, app, run_async
from service.cli.progress import shown
from service.cli.spans import pair, span_of
from service.cli.sync.backfill import From, Month, QuarantinedError, To
from service.domain.coverage.span import Span
from service.domain.errors import DifferenceError

if TYPE_CHECKING:
    from service.jobs.verify import Verdict

Repair = Annotated[
    bool,
    Parameter(
        name="--repair", negative="", help="Write what was read, and claim again what was revoked."
    ),
]

SHOWN = 10
KINDS = ("missing", "drift", "stale", "hidden", "gone", "returned", "undecodable")
MEANS = {
    "missing": "at Stripe, not stored here",
    "drift": "stored otherwise, and nothing reported a change",
    "stale": "changed at Stripe since they were read; a net has them",
    "hidden": "stored, not listed, still known to Stripe",
    "gone": "stored, and not known to Stripe; marked gone after a second such answer an hour later",
    "returned": "marked gone or hidden here, and listed by Stripe; the mark is cleared",
    "undecodable": "could not be decoded, so not compared; in quarantine",
}


@app.command
def verify(
    *,
    start: From = None,
    end: To = None,
    month: Month = None,
    repair: Repair = False,
    context: Context,
) -> None:
    """Read a span again, covered or not, and compare every column.

    Ends with 7 when anything is missing, drifted, gone or returned, repaired or not, and with 8 when
    something could not be decoded. Claims that Stripe's list or the stored rows contradict are revoked, and
    marks (gone, hidden) of what is listed are cleared; nothing else is changed without --repair.
    """
    first, last = span_of(start, end, month, since=context.settings.since_s, now=int(time.time()))
    run_async(
        _verify(context, first, last, repair=repair),
        stopped="what was repaired stays; the same command begins again"
        if repair
        else "no refund was changed; the same command begins again",
    )


async def _verify(context: Context, first: int, last: int, *, repair: bool) -> None:
    from service.app import verification
    from service.jobs import plan
    from service.jobs.verify import reported, summarize
    from service.ports.runs import Progress

    async with context.open_account() as account:
        wanted = plan.wanted_of(first, last, await account.settle_bound())
        if wanted.span is None:
            context.report("nothing to verify: the span is newer than what has settled")
            context.emit({"span": None})
            return
        progress = Progress()
        async with shown(context, progress, "verifying"):
            verdict, short_s, asked_events = await verification.verify(
                account, wanted.span, progress, repair=repair
            )
    found = {
        "account_id": account.id,
        "span": pair(wanted.span),
        "requests": progress.requests,
        "repaired": repair,
        **reported(verdict),
        "seconds_left": short_s,
        "cannot_prove": _unproven(wanted.beyond, asked_events=asked_events),
    }
    context.emit(found, lambda: _text(found))
    if short_s:
        raise DifferenceError(
            f"{short_s} seconds of the span are not proven", hint="Close them: refund-sync sync"
        )
    if not verdict.holds:
        raise DifferenceError(summarize(verdict), hint=_next_step(verdict, repair=repair))
    if verdict.found.undecodable:
        raise QuarantinedError(
            f"objects that could not be decoded: {len(verdict.found.undecodable)}",
            hint="They were not compared. `refund-sync status` names the oldest in quarantine.",
        )


def _next_step(verdict: "Verdict", *, repair: bool) -> str:
    if not repair:
        return "Put it right: the same command with --repair."
    left = []
    if verdict.unrepaired:
        left.append(f"{len(verdict.unrepaired)} could not be read and stay as they were")
    if verdict.gone:
        left.append(
            f"{len(verdict.gone)} are asked for again in an hour, before they count as gone"
        )
    return f"Repaired, but: {'; '.join(left)}." if left else "They were repaired."


def _unproven(beyond: Span | None, *, asked_events: bool) -> list[str]:
    reported = [
        "refunds on test clocks: Stripe does not list them",
        "charges, ledger lines and earlier versions: refunds are compared, with their links, destination and marks",
    ]
    if beyond:
        reported.append(f"what has not settled: {beyond}")
    if asked_events:
        reported.append(
            "that a change happened only minutes ago: its event may still be on its way"
        )
    else:
        reported.append("stale and drift apart: the key may not read events")
    return reported


def _text(found: dict[str, Any]) -> str:
    lines = [
        f"verified [{found['span'][0]}, {found['span'][1]}): {found['equal']:,} equal, {found['requests']:,} requests"
    ]
    for kind in KINDS:
        ids = found[kind]
        if ids:
            lines.append(f"  {kind:<8} {len(ids):>7,}  {MEANS[kind]}")
            lines += [f"    {_difference(found, i)}" for i in ids[:SHOWN]]
            if len(ids) > SHOWN:
                lines.append(f"    and {len(ids) - SHOWN:,} more (--json shows all)")
    lines += [f"  revoked  {span}" for span in found["revoked"][:SHOWN]]
    if found["unrepaired"]:
        lines.append(f"  not repaired: {', '.join(found['unrepaired'][:SHOWN])}")
    lines.append("cannot be proven:")
    lines += [f"  {what}" for what in found["cannot_prove"]]
    return "\n".join(lines)


def _difference(found: dict[str, Any], refund_id: str) -> str:
    changes = found["differences"].get(refund_id, {})
    reported = "; ".join(
        f"{name} {here} here, {there} there" for name, (here, there) in changes.items()
    )
    return f"{refund_id}  {reported}".rstrip()
