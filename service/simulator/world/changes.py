"""What happens to refunds later: they settle, fail, get their reference, and new ones arrive."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from service.simulator.world.objects import KINDS, Json, charge_of, ledger_of, refund_of

if TYPE_CHECKING:
    from service.simulator.world.occasion import Occasion

FIRST_NEW = 1 << 36
DAY = 86_400
PENDING_CARD = KINDS[15]
UPDATED = ("refund.updated", "charge.refund.updated")
FAILED = ("refund.failed", "charge.refund.updated")


def new(at: Occasion) -> Json:
    """A refund that succeeds at once, of a charge of its own."""
    world, number = at.world, FIRST_NEW + len(at.world.extras.objects)
    kind = KINDS[number % 15] if number % 5 else PENDING_CARD
    values = world.seeds.values(number, at.now)
    values |= {"refunded": values["amount"], "id": f"re_3Sim{world.seeds.code(number)}"}
    reported = refund_of(kind, values)
    world.add(reported)
    world.charges[values["charge"]] = charge_of(kind, values)
    world.ledger[values["txn"]] = ledger_of(kind, values)
    at.report(reported, "refund.created")
    at.report(world.charges[values["charge"]], "charge.refunded")
    return reported


def second_refund(at: Occasion, place: int) -> Json:
    """Of a charge that has one already: a part of that one's amount."""
    world, first = at.world, at.world.plain(place)
    code = world.seeds.code(FIRST_NEW + len(world.extras.objects))
    charge = world.charge(first["charge"])
    if charge is None:
        raise ValueError(f"{first['id']} has no charge")
    part, txn = min(500, first["amount"]), f"txn_3Sim{code}"
    reported = first | {
        "id": f"re_3Sim{code}", "amount": part, "created": at.now, "balance_transaction": txn,
    }  # fmt: skip
    world.add(reported)
    world.ledger[txn] = (world.line(first["balance_transaction"]) or {}) | {
        "id": txn, "amount": -part, "net": -part, "created": at.now, "source": reported["id"],
    }  # fmt: skip
    world.charges[charge["id"]] = charge | {"amount_refunded": charge["amount_refunded"] + part}
    at.report(reported, "refund.created")
    at.report(world.charges[charge["id"]], "charge.refunded")
    return reported


def _altered(at: Occasion, place: int, types: tuple[str, ...], *gone: str, **fields: Any) -> Json:
    before = at.world.plain(place)
    reported = at.world.alter(place, *gone, **fields)
    at.report(reported, *types, before=before)
    return reported


def settle(at: Occasion, place: int) -> Json:
    before = at.world.plain(place)
    txn = before["balance_transaction"]
    if txn is None:
        txn = f"txn_6Sim{before['id'][-10:]}"
        values = {"txn": txn, "minus": -before["amount"], "settled": before["amount"],
                  "id": before["id"], "available": at.now + 2 * DAY, "created": at.now,
                  "failed_at": at.now, "back": ""}  # fmt: skip
        kind = replace(KINDS[0], currency=before["currency"], destination=_destination(before))
        at.world.ledger[txn] = ledger_of(kind, values)
    return _altered(
        at, place, UPDATED, "pending_reason", "next_action",
        status="succeeded", balance_transaction=txn,
    )  # fmt: skip


def requires_action(at: Occasion, place: int) -> Json:
    """The bank returned the money, and the customer is asked for other details."""
    email = "customer@example.com"
    sent = {"email_sent_at": at.now, "email_sent_to": email}
    shown = {"email_sent": sent, "expires_at": at.now + 30 * DAY}
    return _altered(
        at, place, UPDATED, "pending_reason",
        status="requires_action", instructions_email=email,
        next_action={"type": "display_details", "display_details": shown},
    )  # fmt: skip


def pending(at: Occasion, place: int) -> Json:
    """The customer gave the details that were asked for."""
    return _altered(
        at, place, UPDATED, "next_action", status="pending", pending_reason="processing"
    )


def _returned(at: Occasion, before: Json) -> Json:
    """Gives the money back, where any was taken; the members that say so."""
    world = at.world
    charge = world.charge(before["charge"]) if before["charge"] else None
    if charge:
        left = charge["amount_refunded"] - before["amount"]
        world.charges[charge["id"]] = charge | {"amount_refunded": left}
    line = world.line(before["balance_transaction"]) if before["balance_transaction"] else None
    if line is None:
        return {}
    back = f"txn_7Sim{before['id'][-10:]}"
    world.ledger[back] = line | {
        "id": back, "amount": -line["amount"], "net": -line["net"], "created": at.now,
        "reporting_category": "refund_failure", "type": "refund_failure",
        "description": "REFUND FAILURE",
    }  # fmt: skip
    return {"failure_balance_transaction": back}


def fail(at: Occasion, place: int) -> Json:
    members = _returned(at, at.world.plain(place))
    return _altered(
        at, place, FAILED, "pending_reason", "next_action",
        status="failed", failure_reason="expired_or_canceled_card", **members,
    )  # fmt: skip


def cancel(at: Occasion, place: int) -> Json:
    members = _returned(at, at.world.plain(place))
    return _altered(
        at, place, UPDATED, "pending_reason", "next_action",
        status="canceled", failure_reason="merchant_request", **members,
    )  # fmt: skip


def arn(at: Occasion, place: int) -> Json:
    kind = _destination(at.world.plain(place))
    details = at.world.plain(place)["destination_details"].get(kind) or {}
    reported = details | {"reference": f"7{place:022d}", "reference_status": "available"}
    if kind == "card":
        reported["reference_type"] = "acquirer_reference_number"
    return _altered(at, place, UPDATED, destination_details={"type": kind, kind: reported})


def metadata(at: Occasion, place: int) -> Json:
    """A note, never the same as the one before it."""
    reported = dict(at.world.plain(place).get("metadata") or {})
    note, before = f"changed at {at.now}", str(reported.get("note", ""))
    reported["note"] = f"{before}+" if before.startswith(note) else note
    return _altered(at, place, UPDATED, metadata=reported)


def _destination(plain: Json) -> str | None:
    kind = (plain.get("destination_details") or {}).get("type")
    return str(kind) if kind else None


def hide(at: Occasion, place: int) -> Json:
    """Listed no more, yet read by id: as the refunds of a test clock are."""
    at.world.hidden.add(at.world.slots[place])
    return at.world.plain(place)


def unhide(at: Occasion, place: int) -> Json:
    at.world.hidden.discard(at.world.slots[place])
    return at.world.plain(place)


def delete(at: Occasion, place: int) -> Json:
    """Neither listed nor read by id any more."""
    at.world.deleted.add(at.world.slots[place])
    return hide(at, place)


def spoil(at: Occasion, place: int) -> Json:
    """Makes an object that nobody can decode: its amount is text."""
    return at.world.alter(place, amount=str(at.world.plain(place)["amount"]))


def mend(at: Occasion, place: int) -> Json:
    return at.world.alter(place, amount=int(at.world.plain(place)["amount"]))
