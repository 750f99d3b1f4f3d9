"""``fetch`` and ``show``: single refunds, read from Stripe now or as they are known."""

import json
from typing import Annotated, Any

from cyclopts import Parameter

from service.cli.app import Context, app, run_async
from service.cli.sync.backfill import QuarantinedError
from service.cli.text import money, when
from service.domain.errors import NotFoundError, UsageError

Ids = Annotated[
    str,
    Parameter(negative="", help="re_ pyr_ (refunds), ch_ py_ (of a charge), pi_ (of a payment)."),
]
Id = Annotated[str, Parameter(help="The id of a refund.")]

OF_REFUNDS = {"ch_", "py_", "pi_"}
"""Whose refunds ``fetch`` reads."""
OF_OTHERS = {
    "acct_", "ba_", "card_", "cs_", "cus_", "dp_", "du_", "evt_", "fee_", "fr_", "in_", "pm_", "po_",
    "price_", "prod_", "req_", "seti_", "sk_", "rk_", "src_", "sub_", "tok_", "tr_", "trr_", "txn_",
    "we_", "whsec_",
}  # fmt: skip
"""Known to be no refund. A prefix that nobody knows may be one: Stripe does not promise any."""


@app.command
def fetch(*ids: Ids, context: Context) -> None:
    """Read these refunds, or those of a charge or payment intent, from Stripe now."""
    if not ids:
        raise UsageError("fetch needs an id", hint="Such as: refund-sync fetch re_123")
    for object_id in ids:
        _check(
            object_id, OF_OTHERS, "Give a refund (re_ pyr_), a charge (ch_ py_) or a payment (pi_)."
        )
    run_async(_fetch(context, list(dict.fromkeys(ids))), stopped="what was read is stored")


@app.command
def show(refund_id: Id, /, *, context: Context) -> None:
    """Everything that is known of a refund, its versions too. Asks nothing of Stripe."""
    check_refund_id(refund_id)
    run_async(_show(context, refund_id))


def check_refund_id(refund_id: str) -> None:
    """Raises UsageError where it is known to be the id of something else."""
    hint = "Give the id of a refund (re_ pyr_)."
    if refund_id.startswith(tuple(OF_REFUNDS)):
        hint = f"{hint} Those of a charge or payment: refund-sync fetch {refund_id}"
    _check(refund_id, OF_OTHERS | OF_REFUNDS, hint)


def _check(object_id: str, refused: set[str], hint: str) -> None:
    if not object_id.strip():
        raise UsageError("an id is empty", hint=hint)
    if object_id.startswith(tuple(refused)):
        raise UsageError(f"{object_id} is not the id of a refund", hint=hint)


async def _fetch(context: Context, ids: list[str]) -> None:
    from service.app import databases as places
    from service.app import passes
    from service.ports.runs import Progress

    async with context.open_account() as account:
        progress = Progress()
        fetched = await passes.fetch(account, ids, progress)
        known = [
            (refund_id, entry)
            for refund_id in fetched.refund_ids
            for entry in await places.everything_of(account.database, refund_id)
        ]
    context.emit(
        {"refunds": [entry for _, entry in known], "not_found": fetched.not_found},
        lambda: _texts(known),
    )
    if fetched.not_found:
        raise NotFoundError(
            f"Stripe does not know: {', '.join(fetched.not_found)}",
            hint="Check the id, and that the key is of the same account and mode.",
        )
    if progress.written.quarantined:
        raise QuarantinedError(
            f"objects that could not be decoded, now in quarantine: {progress.written.quarantined}",
            hint="The payload is in refund_sync.quarantine, with the reason.",
        )


async def _show(context: Context, refund_id: str) -> None:
    from service.app import databases as places

    async with context.open_database() as database:
        known = await places.everything_of(database, refund_id)
    if not known:
        raise NotFoundError(
            f"no refund {refund_id} is stored",
            hint=f"Ask Stripe for it: refund-sync fetch {refund_id}",
        )
    context.emit({"refunds": known}, lambda: _texts([(refund_id, entry) for entry in known]))


def _texts(known: list[tuple[str, dict[str, Any]]]) -> str:
    return "\n\n".join(text_of(refund_id, entry) for refund_id, entry in known)


REFUND_FACTS = (
    "reason", "failure_reason", "pending_reason", "description", "metadata", "gone_at", "hidden_at",
)  # fmt: skip
DESTINATION_FACTS = ("type", "reference", "reference_status", "reference_type", "card_type")


def text_of(refund_id: str, entry: dict[str, Any]) -> str:
    """All that is known of one refund: its facts in two columns, however long, then its versions."""
    waiting = [fact for row in entry.get("quarantine") or () for fact in _quarantined(row)]
    if "refund" not in entry:
        return _columns(f"{refund_id}  in quarantine", [("account", entry["account_id"]), *waiting])
    refund, link = entry["refund"], entry["charge_link"]
    covered = "  in a covered second" if entry["covered"] else ""
    facts = [
        ("account", entry["account_id"]),
        ("created", f"{when(refund['created_at'])}{covered}"),
        ("observed", when(refund["observed_at"])),
        *_facts(refund, REFUND_FACTS),
        *_facts(link, tuple(link)),
        *_facts(entry["destination_details"] or {}, DESTINATION_FACTS),
        *(("ledger", _ledger(line)) for line in entry["balance_transactions"]),
        *(fact for version in entry["versions"] for fact in _version(version)),
        *waiting,
    ]
    amount = money(refund["amount_minor"], refund["currency"])
    return _columns(f"{refund['id']}  {refund['status']}  {amount}", facts)


def _columns(head: str, facts: list[tuple[str, str]]) -> str:
    width = max(len(label) for label, _ in facts)
    return "\n".join([head, *(f"  {label:<{width}}  {said}" for label, said in facts)])


def _quarantined(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("not decoded", row["error"]),
        (
            "",
            f"seen {when(row['seen_at'])}, created {when(row['created_at']) if row['created_at'] else 'unknown'}",
        ),
        ("", f"resolved {when(row['resolved_at'])}" if row["resolved_at"] else "not resolved yet"),
    ]


def _facts(values: dict[str, Any], names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, _plain(values[name])) for name in names if values.get(name) not in (None, {})]


def _ledger(line: dict[str, Any]) -> str:
    amount = money(line["net_minor"], line["currency"])
    return f"{line['id']}  {line['reporting_category']}  {amount}  {line['status']}"


def _version(version: dict[str, Any]) -> list[tuple[str, str]]:
    head = (
        f"version {version['version']}",
        f"{when(version['observed_at'])}  by {version['source']}",
    )
    changes = changes_by_part(version["changes"] or {})
    reported = ((name, f"{_plain(a)} -> {_plain(b)}") for name, (a, b) in changes.items())
    return [head, *(("", f"  {name}: {change}") for name, change in reported)]


def changes_by_part(changes: dict[str, Any]) -> dict[str, Any]:
    """What changed, the JSON of destination details only by those parts that have no field of their own."""
    whole = "destination_details"
    fields = {name: change for name, change in changes.items() if name != whole}
    before, after = (part or {} for part in changes.get(whole, ({}, {})))
    for name in sorted({*before, *after}):
        change = [before.get(name), after.get(name)]
        if change[0] != change[1] and change not in fields.values():
            fields[f"{whole}.{name}"] = change
    return fields


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
