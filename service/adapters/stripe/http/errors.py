"""What Stripe's refusals become: one class for each thing that a caller can do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from service.adapters.stripe.objects.mask import masked_text, without_keys
from service.domain.errors import (
    AccessError,
    NotFoundError,
    RefundSyncError,
    RefusedError,
    StripeAwayError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST_MESSAGE = 1000
PERMISSIONS = {
    "rak_charge_read": "Charges and Refunds: Read",
    "rak_charge_write": "Charges and Refunds: Write",
    "rak_balance_transaction_source_read": "Balance Transaction Sources: Read",
    "rak_balance_transaction_read": "Balance Transactions: Read",
    "rak_balance_read": "Balance: Read",
    "rak_event_read": "Events: Read",
    "rak_payout_read": "Payouts: Read",
    "rak_payment_intent_read": "PaymentIntents: Read",
}
"""Permissions of a restricted key by the name in a 403, as the Dashboard calls them."""

EVENTS_PERMISSION = "rak_event_read"
"""The one permission that a daemon can do without."""
_PERMISSION = re.compile(r"\brak_\w+")
_ACCOUNT = re.compile(r"\bacct_\w+")
_OAUTH = re.compile(r"[a-z]+(_[a-z]+)+")
"""Codes as OAuth spells them: a proxy that says "Forbidden" under the same name does not match."""


class StripeAccessError(AccessError):
    """The key is refused; *permission* and *account_id* are those that Stripe's text names."""

    def __init__(
        self,
        message: str,
        *,
        hint: str,
        status: int,
        permission: str | None,
        account_id: str | None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.permission = permission
        self.account_id = account_id


class StripeRefusedError(RefusedError):
    """Stripe understood and refused; *param* is the parameter that it objects to."""

    def __init__(self, message: str, *, param: str | None) -> None:
        super().__init__(message)
        self.param = param


class StripeGivenUpError(StripeAwayError):
    """Retries ended; *overburdened* says that a smaller request may succeed."""

    def __init__(self, message: str, *, hint: str, overburdened: bool) -> None:
        super().__init__(message, hint=hint)
        self.overburdened = overburdened


@dataclass(frozen=True, slots=True)
class ParsedError:
    """What an error body says, keys and personal data masked."""

    message: str
    code: str | None = None
    param: str | None = None


class _Error(msgspec.Struct):
    type: str
    message: str | None = None
    code: str | None = None
    param: str | None = None


class _Envelope(msgspec.Struct):
    error: _Error | str
    error_description: str | None = None


def reported_in(body: bytes, mask: Callable[[str], str]) -> ParsedError | None:
    """The error in *body*, in Stripe's own form or that of OAuth; None if there is no such error.

    An object under ``error`` is Stripe's only with a ``type``: gateways send objects of their own there.
    """
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    error = envelope.error
    if isinstance(error, str):
        return (
            ParsedError(mask(envelope.error_description or error))
            if _OAUTH.fullmatch(error)
            else None
        )
    param = error.param and mask(error.param)
    return ParsedError(mask(error.message or error.code or error.type), error.code, param)


def foreign(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """What an answer is that something between us and Stripe gave; empty if it may be Stripe's.

    A 429 or 5xx is retried no matter who sent it, so only its status counts.
    """
    if 300 <= status < 400:
        return f"a redirect (HTTP {status}), which is never followed"
    if status == 429 or status >= 500 or reported_in(body, str):
        return ""
    named = [f"{name} {headers[name]}" for name in ("Content-Type", "Server") if name in headers]
    return f"HTTP {status} that is not in Stripe's form ({', '.join(named) or 'no content type'})"


def unexpected(status: int, body: bytes, error: Exception) -> str:
    """Why a good status is no good answer: it holds an error, has another shape, or is cut short."""
    if said := reported_in(body, str):
        return f"HTTP {status} that holds an error: {said.message}"
    if isinstance(error, msgspec.ValidationError):
        return f"an answer that has not the shape it should have: {error}"
    return "an answer that is no JSON, or cut short"


def error_of(status: int, said: ParsedError) -> RefundSyncError:
    """What an answer in Stripe's form that is not worth repeating means for the caller."""
    if status in {401, 403}:
        return _access_error(status, said)
    if status >= 500:
        return StripeGivenUpError(
            f"Stripe failed and says that repeating does not help: {said.message}",
            hint="Run the same command again later: what was proven is kept.",
            overburdened=True,
        )
    if said.code == "resource_missing" or said.message.startswith("No such "):
        return NotFoundError(said.message)
    return StripeRefusedError(said.message, param=said.param)


def _access_error(status: int, said: ParsedError) -> StripeAccessError:
    permission = _PERMISSION.search(said.message)
    account = _ACCOUNT.search(said.message)
    name = permission.group() if permission else None
    if name:
        hint = f"Give the key the permission {PERMISSIONS.get(name, name)!r} in Stripe's Dashboard."
    elif status == 401:
        hint = "Check STRIPE_API_KEY: it is wrong, expired or revoked."
    else:
        hint = "Check the permissions and the allowed addresses of the key in Stripe's Dashboard."
    return StripeAccessError(
        said.message,
        hint=hint,
        status=status,
        permission=name,
        account_id=account.group() if account else None,
    )


class Redactor:
    """Takes the key, its forms and personal data out of any text that leaves the client."""

    def __init__(self, key: str) -> None:
        self._key = re.compile(re.escape(key))

    def __call__(self, text: str) -> str:
        return masked_text(without_keys(self._key.sub("[key]", text)))[:LONGEST_MESSAGE]
