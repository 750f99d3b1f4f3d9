"""All that is ever asked of Stripe, and in which version."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from yarl import URL

from service.domain.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

STRIPE_VERSION = "2026-10-28.endive"
LIVE_BASE = "https://api.stripe.com"

ENDPOINTS = frozenset(
    {
        "GET /v1/account",
        "GET /v1/balance_transactions",
        "GET /v1/balance_transactions/:id",
        "GET /v1/charges/:id",
        "GET /v1/events",
        "GET /v1/refunds",
        "GET /v1/refunds/:id",
        "POST /v1/refunds/:id/cancel",
    }
)


def url_of(base: str, endpoint: str, object_id: str, params: Sequence[tuple[str, str]]) -> URL:
    """The address of one of the endpoints above, ids quoted; any other is refused."""
    if endpoint not in ENDPOINTS:
        raise ValueError(f"not an endpoint that is ever asked: {endpoint}")
    path = endpoint.partition(" ")[2]
    if ":id" in path:
        if not object_id.strip("."):
            raise NotFoundError(f"not an id: {object_id!r}")
        path = path.replace(":id", quote(object_id, safe=""))
    query = f"?{urlencode(params)}" if params else ""
    return URL(f"{base}{path}{query}", encoded=True)
