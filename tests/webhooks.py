"""What Stripe pushes, signed by its own library."""

from __future__ import annotations

import json
import time
from typing import Any

import stripe

SECRET = "whsec_testsOnlyNotASecret"
REFUND_TYPES = ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated")


def an_event(refund_id: str = "re_1", kind: str = "refund.updated", **members: Any) -> bytes:
    """A snapshot event: the refund as it was, or for charge.refunded the charge of that id."""
    reported = {"id": refund_id, "object": "refund", "charge": "ch_1", "amount": 1000}
    if kind == "charge.refunded":
        reported = {"id": refund_id, "object": "charge", "amount_refunded": 1000}
    return _body({
        "id": f"evt_{refund_id}", "object": "event", "type": kind, "livemode": False,
        "created": 1_760_000_000, "data": {"object": reported}, "pending_webhooks": 1, "request": None,
    } | members)  # fmt: skip


def a_notification(
    refund_id: str = "re_1", kind: str = "v1.refund.updated", **members: Any
) -> bytes:
    """A thin one: it names the object, and holds none."""
    what = "charge" if kind == "v1.charge.refunded" else "refund"
    return _body({
        "id": f"evt_thin_{refund_id}", "object": "v2.core.event", "type": kind, "livemode": False,
        "created": "2026-03-01T00:00:00.000Z", "context": None,
        "related_object": {"id": refund_id, "type": what, "url": f"/v1/{what}s/{refund_id}"},
    } | members)  # fmt: skip


def _body(reported: dict[str, Any]) -> bytes:
    return json.dumps(reported).encode()


def signed(body: bytes, secret: str = SECRET, *, second: float | None = None) -> str:
    """The header for *body*, stamped now or at *second*."""
    stamp = int(time.time() if second is None else second)
    header: str = stripe.WebhookSignature.generate_signature_header(
        body.decode(), secret, timestamp=stamp
    )
    return header
