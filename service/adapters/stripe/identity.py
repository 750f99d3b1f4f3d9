"""Which account the key belongs to: asked, known, or set; and that the warehouse is that account's."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from service.adapters.stripe.http.errors import StripeAccessError
from service.domain.errors import NotFoundError, RefusedError, SettingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from service.adapters.stripe.client import StripeClient

SETTING = "REFUND_SYNC_ACCOUNT_ID"


@dataclass(frozen=True, slots=True)
class Identity:
    """An account in one mode; *confirmed* says that Stripe itself named the account."""

    account_id: str
    livemode: bool
    confirmed: bool


def key_digest(key: str, api_base: str) -> bytes:
    """Distinguishes keys, and reveals nothing: they are random, and too long to be guessed."""
    return sha256(f"{api_base}\n{key}".encode()).digest()


async def resolve_account(
    client: StripeClient,
    *,
    remembered: str | None = None,
    account_id_setting: str | None,
    livemode: bool,
    newest_stored: Callable[[str], Awaitable[Sequence[str]]],
) -> Identity:
    """The account of the key; writes nothing. The setting only names it and is never sent.

    A key is of one account for ever: where Stripe named it before (*remembered*), it is not asked again.
    Where Stripe does not name the account, one of the newest refunds stored for the one that is set
    (*newest_stored* takes the account's id) must be known to this key. Raises SettingError.
    """
    reported, refusal = (remembered, "") if remembered else await _reported(client)
    if reported is None and account_id_setting is None:
        raise SettingError(
            "the key may not ask which account it belongs to, and no setting names it; Stripe says:"
            f" {refusal}",
            hint=f"Set {SETTING} to the id of the key's own account (acct_…).",
        )
    if reported is None:
        account_id = account_id_setting or ""
        await _check_newest(client, account_id, await newest_stored(account_id))
        return Identity(account_id, livemode, confirmed=False)
    if account_id_setting not in {None, reported}:
        raise SettingError(
            f"the key belongs to {reported}, and {SETTING} says {account_id_setting}",
            hint=f"Use the key of that account, or correct or remove {SETTING}.",
        )
    return Identity(reported, livemode, confirmed=True)


async def _reported(client: StripeClient) -> tuple[str | None, str]:
    """The account by Stripe's own word: its answer, else the text with which it refuses one; and that text.

    A key without an account of its own gets a 404, or a 400: that is a refusal, too.
    """
    try:
        return (await client.account()).value.id, ""
    except StripeAccessError as error:
        if error.status == 401:
            raise
        return error.account_id, str(error)
    except (NotFoundError, RefusedError) as error:
        return None, str(error)


async def _check_newest(client: StripeClient, account_id: str, newest: Sequence[str]) -> None:
    """That Stripe does not know one refund may be for that refund alone: it must know one of several."""
    for refund_id in newest:
        try:
            await client.refund(refund_id)
        except NotFoundError:
            continue
        return
    if newest:
        raise SettingError(
            f"Stripe does not know {', '.join(newest)}, the newest refunds stored for {account_id}:"
            " this key is of another account or mode",
            hint="Use the key of that account, or another database for this one.",
        )
