"""Whether Stripe accepts a key for an account that is already at work."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.adapters.stripe.http.errors import EVENTS_PERMISSION, StripeAccessError
from service.app import accounts
from service.domain import pace
from service.domain.errors import SettingError
from service.ports.reads import reads_for

if TYPE_CHECKING:
    from service.adapters.stripe.client import StripeClient
    from service.app.accounts import Account
    from service.settings import Settings


async def accepted(account: Account, settings: Settings) -> Account:
    """The same account with the key of *settings*, if Stripe accepts it for what a poll reads.

    Raises AccessError if Stripe refuses the key or a permission, SettingError if the key belongs to
    another account or mode. The client keeps the key that was tried last.
    """
    key = settings.require_key()
    if key.livemode != account.settings.require_key().livemode:
        raise SettingError(
            "the key is of the other mode", hint="Use a key of the mode that this database holds."
        )
    account.client.use_key(key.secret.get_secret_value())
    with reads_for(pace.POLLS):
        identity = await accounts.identified(settings, account.database, account.client)
        if identity.account_id != account.id:
            raise SettingError(
                f"the key belongs to {identity.account_id}, and this daemon works for {account.id}",
                hint="Use a key of that account.",
            )
        await _ask(account.client)
    await accounts.recorded(settings, account.database, identity)
    return replace(account, settings=settings)


async def _ask(client: StripeClient) -> None:
    """Both lists of a poll. A key may lack *Events: Read*: then rechecks alone find changes."""
    await client.refunds(limit=1)
    try:
        await client.events(limit=1)
    except StripeAccessError as error:
        if error.permission != EVENTS_PERMISSION:
            raise
