"""What happens to refunds later: they settle, fail, get their reference, and new ones arrive."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from service.simulator.objects import KINDS, Json, charge_of, ledger_of, refund_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from service.simulator.world import World

FIRST_NEW = 1 << 36
TRIES = 20_000
PENDING_CARD = KINDS[15]


def change(
    world: World, kind: str, *, count: int, now: int, created: int | None, chance: Random
) -> list[str]:
    """Makes it happen *count* times; returns the ids. Raises ValueError where nothing fits."""
    done = {
        "new": lambda: new(world, created if created is not None else now),
        "second_refund": lambda: second_refund(world, _pick(world, chance, _single), now),
        "settle": lambda: settle(
            world, _pick(world, chance, lambda p: p["status"] == "pending"), now
        ),
        "fail": lambda: fail(world, _pick(world, chance, _can_fail), now),
        "arn": lambda: arn(world, _pick(world, chance, _awaits_arn), now),
        "cancel": lambda: cancel(
            world, _pick(world, chance, lambda p: p["status"] == "requires_action"), now
        ),
        "metadata": lambda: metadata(world, _pick(world, chance, lambda _: True), now),
    }
    if kind not in done:
        raise ValueError(f"no such change: {kind}; there are {', '.join(done)}")
    return [done[kind]()["id"] for _ in range(count)]


def _pick(world: World, chance: Random, fits: Callable[[Json], bool]) -> int:
    for _ in range(TRIES):
        place = chance.randrange(len(world.slots))
        if fits(world.plain(place)):
            return place
    raise ValueError("no refund fits this change")


def _details(plain: Json) -> Json:
    details = plain.get("destination_details") or {}
    found: Json = details.get(details.get("type"), {})
    return found


def _can_fail(plain: Json) -> bool:
    return bool(plain["status"] == "succeeded" and plain["charge"] and plain["balance_transaction"])


def _awaits_arn(plain: Json) -> bool:
    return plain["status"] == "succeeded" and _details(plain).get("reference_status") == "pending"


def _single(plain: Json) -> bool:
    return bool(_can_fail(plain) and plain["amount"] > 1000)


def tell(world: World, now: int, told: Json, *types: str, before: Json | None = None) -> None:
    """The events of a change, each with the object as it was then."""
    for kind in types:
        data: Json = {"object": dict(told)}
        if before and kind.endswith("updated"):
            data["previous_attributes"] = {
                k: before.get(k) for k in told if before.get(k) != told[k]
            }
        world.events.append({
            "id": f"evt_3Sim{len(world.events):010x}", "object": "event", "api_version": "2022-11-15",
            "created": now, "data": data, "livemode": world.livemode, "pending_webhooks": 0,
            "request": {"id": None, "idempotency_key": None}, "type": kind,
        })  # fmt: skip


def new(world: World, created: int) -> Json:
    number = FIRST_NEW + len(world.extra)
    kind = KINDS[number % 15] if number % 5 else PENDING_CARD
    values = world.values(number, created)
    values["refunded"] = values["amount"]
    kind = replace(kind, status="succeeded")
    told = refund_of(kind, values)
    world.add(told)
    world.charges[values["charge"]] = charge_of(kind, values)
    world.ledger[values["txn"]] = ledger_of(kind, values)
    tell(world, created, told, "refund.created")
    tell(world, created, world.charges[values["charge"]], "charge.refunded")
    return told


def second_refund(world: World, place: int, now: int) -> Json:
    first = world.plain(place)
    number = FIRST_NEW + len(world.extra)
    values = world.values(number, now)
    charge = world.charge(first["charge"])
    if charge is None:
        raise ValueError(f"{first['id']} has no charge")
    part = min(500, first["amount"])
    line = world.line(first["balance_transaction"]) or {}
    told = first | {
        "id": values["id"].replace("pyr_", "re_"), "amount": part, "created": now,
        "balance_transaction": values["txn"],
    }  # fmt: skip
    world.add(told)
    world.ledger[values["txn"]] = line | {
        "id": values["txn"], "amount": -part, "net": -part, "created": now, "source": told["id"],
    }  # fmt: skip
    world.charges[charge["id"]] = charge | {"amount_refunded": charge["amount_refunded"] + part}
    tell(world, now, told, "refund.created")
    tell(world, now, world.charges[charge["id"]], "charge.refunded")
    return told


def _altered(world: World, place: int, now: int, *types: str, **fields: Any) -> Json:
    before = world.plain(place)
    told = world.alter(place, **fields)
    tell(world, now, told, *types, before=before)
    return told


def settle(world: World, place: int, now: int) -> Json:
    before = world.plain(place)
    txn = f"txn_6Sim{before['id'][-10:]}"
    values = {"txn": txn, "minus": -before["amount"], "settled": before["amount"], "id": before["id"],
              "available": now + 172_800, "created": now, "failed_at": now, "back": ""}  # fmt: skip
    world.ledger[txn] = ledger_of(replace(KINDS[0], currency=before["currency"]), values)
    told = world.alter(place, status="succeeded", balance_transaction=txn)
    told.pop("pending_reason", None)
    tell(world, now, told, "refund.updated", "charge.refund.updated", before=before)
    return told


def fail(world: World, place: int, now: int) -> Json:
    before = world.plain(place)
    back = f"txn_7Sim{before['id'][-10:]}"
    line = world.line(before["balance_transaction"]) or {}
    world.ledger[back] = line | {
        "id": back, "amount": -line["amount"], "net": -line["net"], "created": now,
        "reporting_category": "refund_failure", "type": "refund_failure",
        "description": "REFUND FAILURE",
    }  # fmt: skip
    charge = world.charge(before["charge"])
    if charge:
        left = charge["amount_refunded"] - before["amount"]
        world.charges[charge["id"]] = charge | {"amount_refunded": left}
    return _altered(
        world, place, now, "refund.failed", "charge.refund.updated",
        status="failed", failure_reason="expired_or_canceled_card", failure_balance_transaction=back,
    )  # fmt: skip


def arn(world: World, place: int, now: int) -> Json:
    plain = world.plain(place)
    kind = plain["destination_details"]["type"]
    details = _details(plain) | {"reference": f"7{place:022d}", "reference_status": "available"}
    return _altered(
        world, place, now, "refund.updated", "charge.refund.updated",
        destination_details={"type": kind, kind: details},
    )  # fmt: skip


def cancel(world: World, place: int, now: int) -> Json:
    before = world.plain(place)
    told = world.alter(place, status="canceled", failure_reason="merchant_request")
    for gone in ("next_action", "pending_reason"):
        told.pop(gone, None)
    tell(world, now, told, "refund.updated", "charge.refund.updated", before=before)
    return told


def metadata(world: World, place: int, now: int) -> Json:
    told = world.plain(place)["metadata"] | {"note": f"changed at {now}"}
    return _altered(world, place, now, "refund.updated", "charge.refund.updated", metadata=told)
