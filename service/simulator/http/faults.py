"""Faults on demand: by chance, seeded, or always; each named as the control API names it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from aiohttp import web

from service.simulator.http.lists import RequestError

if TYPE_CHECKING:
    from random import Random

RATE_REASONS = (
    "endpoint-rate",
    "global-rate",
    "endpoint-concurrency",
    "global-concurrency",
    "resource-specific",
)


@dataclass(slots=True)
class Faults:
    """Chances from 0 to 1 unless the name has a unit. *next* bounds how many requests are struck."""

    error_500: float = 0
    error_503: float = 0
    reset: float = 0
    reset_in_body: float = 0
    truncate: float = 0
    not_json: float = 0
    stall: float = 0
    stall_s: float = 5
    rate_429: float = 0
    reason_429: str = "endpoint-rate"
    lock_timeout: float = 0
    redirect: float = 0
    proxy_page: float = 0
    proxy_status: int = 403
    """What the page of the proxy says: 403, 401, 404, 502 or any other."""
    error_in_200: float = 0
    refused_key: float = 0
    list_400: float = 0
    list_404: float = 0
    late_visibility_s: int = 0
    wrong_date_s: int = 0
    no_date: bool = False
    expand_timeout: int = 0
    empty_after_cursor: float = 0
    skip_second_after_cursor: float = 0
    permissions_removed: list[str] = field(default_factory=list)
    unauthorized: bool = False
    keys_refused: list[str] = field(default_factory=list)
    key_in_error: bool = False
    account_unknown: bool = False
    statuses: dict[str, int] = field(default_factory=dict)
    """Ids, and the status that each request gets which names one."""
    denied: list[str] = field(default_factory=list)
    """Refunds that are listed, and whose id is answered as unknown: a copy that lags."""
    next: int = -1

    def set(self, values: dict[str, object]) -> None:
        known = {f.name for f in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"no such fault: {name}")
            setattr(self, name, value)


CHANCES = (
    "error_500", "error_503", "reset", "reset_in_body", "truncate", "not_json", "stall", "rate_429",
    "lock_timeout", "redirect", "proxy_page", "error_in_200",
)  # fmt: skip
"""Faults that pass when a request is repeated."""
REFUSALS = ("refused_key", "list_400", "list_404")
"""Faults that Stripe's own refusals are."""
LISTS = frozenset({"GET /v1/refunds", "GET /v1/events", "GET /v1/balance_transactions"})


def strike(faults: Faults, chance: Random, endpoint: str) -> str | None:
    """The fault that strikes this request, if any."""
    if faults.next == 0:
        return None
    for name in (*CHANCES, *REFUSALS):
        if name.startswith("list_") and endpoint not in LISTS:
            continue
        if (likely := getattr(faults, name)) and chance.random() < likely:
            faults.next -= faults.next > 0
            return name
    return None


def page(fault: str, faults: Faults) -> web.Response | None:
    """The answer of something that is not Stripe's API, or only looks like it; None for other faults."""
    if fault == "not_json":
        return web.Response(text="<html>502 Bad Gateway</html>", content_type="text/html")
    if fault == "redirect":
        return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"})
    if fault == "proxy_page":
        text = f"<html><title>{faults.proxy_status}</title>Blocked by the proxy.</html>"
        return web.Response(text=text, status=faults.proxy_status, content_type="text/html")
    if fault == "error_in_200":
        error = {"message": "An unexpected error occurred.", "type": "api_error"}
        return web.json_response({"error": error})
    return None


def refusal(fault: str) -> RequestError | None:
    """The refusal in Stripe's form that a fault is; None for other faults."""
    if fault == "list_400":
        return RequestError("This list cannot be given.", param="created")
    if fault == "list_404":
        return RequestError("No such list.", status=404, code="resource_missing")
    return None
