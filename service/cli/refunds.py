"""``fetch`` and ``show``: single refunds, read from Stripe now or as they are known."""

from typing import Annotated, Any

from cyclopts import Parameter

from service.cli.app import Context, app, run_async
from service.cli.cover import QuarantinedError
from service.domain.errors import NotFoundError, UsageError

Ids = Annotated[
    str,
    Parameter(negative="", help="re_ pyr_ (refunds), ch_ py_ (of a charge), pi_ (of a payment)."),
]
Id = Annotated[str, Parameter(help="The id of a refund.")]


@app.command
def fetch(*ids: Ids, context: Context) -> None:
    """Read these refunds, or those of a charge or payment intent, from Stripe now."""
    if not ids:
        raise UsageError("fetch needs an id", hint="Such as: refund-sync fetch re_123")
    run_async(_fetch(context, list(dict.fromkeys(ids))))


@app.command
def show(refund_id: Id, /, *, context: Context) -> None:
    """Everything that is known of a refund, its versions too. Asks nothing of Stripe."""
    run_async(_show(context, refund_id))


async def _fetch(context: Context, ids: list[str]) -> None:
    from service.jobs.fetch import fetch as fetch_refunds
    from service.ports import Progress
    from service.wiring import accounts, passes, places

    async with (
        places.open_database(context.settings, context.tell) as database,
        accounts.open_account(context.settings, database) as account,
    ):
        progress = Progress()
        async with passes.recorded_run(account, "fetch", None, progress) as (run, store):
            fetched = await fetch_refunds(account.source, store, ids, progress)
            if fetched.not_found:
                run.shortfall = f"Stripe does not know {len(fetched.not_found)} of the ids"
        known = [
            entry for i in fetched.refund_ids for entry in await places.everything_of(database, i)
        ]
    context.emit({"refunds": known, "not_found": fetched.not_found}, lambda: _texts(known))
    if fetched.not_found:
        raise NotFoundError(
            f"Stripe does not know: {', '.join(fetched.not_found)}",
            hint="Check the id, and that the key is of the same account and mode.",
        )
    if progress.written.quarantined:
        raise QuarantinedError(
            f"{progress.written.quarantined} of them could not be decoded and are in quarantine",
            hint="The payload is in refund_sync.quarantine, with the reason.",
        )


async def _show(context: Context, refund_id: str) -> None:
    from service.wiring import places

    async with places.open_database(context.settings, context.tell) as database:
        known = await places.everything_of(database, refund_id)
    if not known:
        raise NotFoundError(
            f"no refund {refund_id} is stored",
            hint=f"Ask Stripe for it: refund-sync fetch {refund_id}",
        )
    context.emit({"refunds": known}, lambda: _texts(known))


def _texts(known: list[dict[str, Any]]) -> str:
    return "\n\n".join(_text(entry) for entry in known)


def _text(entry: dict[str, Any]) -> str:
    if "refund" not in entry:
        return f"in quarantine: {entry['quarantine']}"
    refund, link = entry["refund"], entry["charge_link"]
    lines = [
        f"{refund['id']}  {refund['status']}  {refund['amount_minor']} {refund['currency']} (minor units)",
        f"  account     {entry['account_id']}",
        f"  created     {refund['created_at']}"
        + ("  in a covered second" if entry["covered"] else ""),
        f"  observed    {refund['observed_at']}",
        *_facts(
            refund,
            ("reason", "failure_reason", "pending_reason", "description", "metadata", "gone_at"),
        ),
        *_facts(link, tuple(link)),
        *(
            _facts(
                entry["destination_details"],
                ("type", "reference", "reference_status", "reference_type", "card_type"),
            )
            if entry["destination_details"]
            else ()
        ),
        *(
            f"  ledger      {b['id']}  {b['reporting_category']}  {b['net_minor']} {b['currency']}  {b['status']}"
            for b in entry["balance_transactions"]
        ),
    ]
    return "\n".join([*lines, *map(_version, entry["versions"])])


def _facts(values: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    return [f"  {name:<11} {values[name]}" for name in names if values.get(name) not in (None, {})]


def _version(version: dict[str, Any]) -> str:
    head = f"  version {version['version']}   {version['observed_at']}  by {version['source']}"
    changes = version["changes"] or {}
    return "\n".join(
        [head, *(f"      {name}: {before} -> {after}" for name, (before, after) in changes.items())]
    )
