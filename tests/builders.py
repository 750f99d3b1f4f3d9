"""Values for the tests: a test names only what it is about, everything else has a default."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from service.domain.batch import Batch, Proof, Reading
from service.domain.coverage.span import Span
from service.domain.coverage.walk import Key, Page, claim_of
from service.domain.refund import (
    BalanceTransaction,
    Charge,
    ChargeLink,
    Destination,
    Observation,
    Refund,
    Undecodable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

CREATED = 1_760_000_000
NEAR = Span(CREATED - 1_000, CREATED + 1_000)
"""Holds every refund that is built without a second of its own."""
FORM = b"form"
NO_LINK = ChargeLink(None, None, None, None, None, None)


def at(seconds: float) -> datetime:
    """An instant of the database's clock, so many seconds after the tests' beginning."""
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def a_refund(object_id: str = "re_1", **fields: Any) -> Refund:
    empty = dict.fromkeys(Refund._fields)
    usual = {"created": CREATED, "amount_minor": 1000, "currency": "eur", "status": "succeeded"}
    return Refund(**(empty | usual | {"id": object_id} | fields))  # type: ignore[arg-type]


def a_link(**ids: str | None) -> ChargeLink:
    return NO_LINK._replace(**ids)


def a_destination(kind: str = "card", **fields: str | None) -> Destination:
    words = dict.fromkeys(Destination._fields[1:-1]) | fields
    reported = {name: word for name, word in fields.items() if word is not None}
    return Destination(**(words | {"type": kind, "details": json.dumps(reported)}))  # type: ignore[arg-type]


def a_charge(object_id: str = "ch_1", **fields: Any) -> Charge:
    empty = dict.fromkeys(Charge._fields)
    usual = {"amount_minor": 5000, "currency": "eur", "created": CREATED - 86_400}
    return Charge(**(empty | usual | {"id": object_id} | fields))  # type: ignore[arg-type]


def a_line(object_id: str = "txn_1", refund_id: str | None = "re_1", **fields: Any) -> Any:
    usual = {
        "source": refund_id, "type": "refund", "reporting_category": "refund",
        "amount_minor": -1000, "fee_minor": 0, "net_minor": -1000, "currency": "eur",
        "exchange_rate": None, "created": CREATED, "available_on": CREATED + 86_400,
        "status": "available",
    }  # fmt: skip
    return BalanceTransaction(**(usual | {"id": object_id, "refund_id": refund_id} | fields))


def an_observation(
    refund: Refund | None = None,
    *,
    seen: float = 0,
    listed: float | bool | None = True,
    link: ChargeLink = NO_LINK,
    destination: Destination | None = None,
    charge: Charge | None = None,
    ledger: Sequence[BalanceTransaction] = (),
    hydrated: bool = True,
    form: bytes = FORM,
) -> Observation:
    """Read *seen* seconds after the beginning; *listed* then, at another second, or (False) never."""
    refund = refund or a_refund()
    listed_s = seen if listed is True else None if listed is False else listed
    return Observation(
        refund=refund,
        link=link,
        destination=destination,
        content_hash=form + digest((refund, link, destination)),
        raw=lambda: json.dumps(json_of(refund, link, destination)),
        charge=(charge, digest(charge)) if charge else None,
        ledger=tuple((line, digest(line)) for line in ledger),
        hydrated=hydrated,
        observed_at=at(seen),
        listed_at=None if listed_s is None else at(listed_s),
    )


def json_of(refund: Refund, link: ChargeLink, destination: Destination | None) -> dict[str, Any]:
    """A refund under the names that versions name changes by."""
    where = destination._asdict() if destination else dict.fromkeys(Destination._fields)
    reported = refund._asdict() | link._asdict() | where
    reported["destination_type"], reported["destination_details"] = (
        reported.pop("type"),
        reported.pop("details"),
    )
    reported["created_at"] = reported.pop("created")
    reported["next_action_expires_at"] = reported.pop("next_action_expires")
    for name in ("metadata", "destination_details"):
        reported[name] = json.loads(reported[name] or "null")
    return reported


def digest(value: Any) -> bytes:
    return sha256(repr(value).encode()).digest()[:16]


def an_undecodable(object_id: str | None = "re_odd", **fields: Any) -> Undecodable:
    usual: dict[str, Any] = {"earliest": CREATED, "latest": CREATED, "error": "odd"}
    return Undecodable(**({"object_id": object_id, "payload": '{"amount": "?"}'} | usual | fields))


def a_reading(
    *observations: Observation, seen: float | None = None, undecodable: Sequence[Undecodable] = ()
) -> Reading:
    """What one read gave, asked for at *seen*, else when the first of its refunds was."""
    first = observations[0].observed_at if observations else at(0)
    keys = [Key(o.refund.created, o.refund.id) for o in observations]
    keys += [Key(u.earliest, u.object_id, kept=False) for u in undecodable if u.object_id]
    page = Page(keys=sorted(keys, reverse=True), has_more=False, settle_bound=NEAR.end)
    return Reading(
        page=page,
        observed_at=first if seen is None else at(seen),
        observations=list(observations),
        undecodable=list(undecodable),
    )


def a_proof(reading: Reading, span: Span = NEAR, *, stream: str = "refunds") -> Proof:
    """That *reading* listed all of *span*."""
    claim = claim_of(span, reading.page.keys)
    return Proof(stream=stream, claim=claim, observed_at=reading.observed_at)


def a_batch(*readings: Reading, proofs: Sequence[Proof] = (), source: str = "list") -> Batch:
    return Batch(readings=list(readings), proofs=list(proofs), source=source)


def batch_of(*observations: Observation, claimed: bool = False, source: str = "list") -> Batch:
    """One reading of these refunds; *claimed* says that it was the whole list of ``NEAR``."""
    reading = a_reading(*observations)
    return a_batch(reading, proofs=[a_proof(reading)] if claimed else [], source=source)
