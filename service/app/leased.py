"""What a daemon has besides an account: its lease, and the webhooks that Stripe pushes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from service.adapters.postgres.operations.lease import Lease, application_name
from service.adapters.postgres.rechecks.due import expedite_quarantined
from service.adapters.postgres.rechecks.hints import PostgresHinted
from service.adapters.postgres.session.database import Fence
from service.adapters.stripe.webhook import WebhookReceiver
from service.app.databases import pooled
from service.jobs.intake import Intake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from service.app.accounts import Account

log = structlog.get_logger(__name__)


@asynccontextmanager
async def leased(
    account: Account, holder: str, *, wait: bool, report: Callable[[str], None]
) -> AsyncIterator[tuple[Account, asyncio.Task[None]]]:
    """The account on sessions that commit only while we hold its lease, and the task that keeps it.

    Waits while another daemon holds it, and *report*s why, or raises LeaseHeldError. The task ends with
    LeaseLostError.
    """
    settings = account.settings
    lease = Lease(account.database.dsn, account.id, holder, lease_s=settings.lease_s)
    try:
        epoch = await lease.take(wait=wait, report=report)
        name = application_name(account.id, epoch)
        keeper = asyncio.create_task(lease.keep())
        try:
            async with pooled(
                settings,
                account.database.dsn,
                application_name=name,
                fence=Fence(account.id, epoch),
                clock=account.database.clock,
            ) as database:
                log.info("lease.taken", account_id=account.id, epoch=epoch)
                await expedite_quarantined(database, account.id, account.clock.now())
                yield account.on(database), keeper
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
    finally:
        await lease.release()


@asynccontextmanager
async def receiving(
    account: Account, on_hints: Callable[[], object]
) -> AsyncIterator[tuple[WebhookReceiver | None, Intake | None]]:
    """Takes in webhooks where a secret is set; *on_hints* is called when they added a hint."""
    secrets = account.settings.signing_secrets
    if not secrets:
        yield None, None
        return
    # Unfenced, because a hint that a standby keeps harms nobody.
    hinted = PostgresHinted(account.database, account.clock)
    async with Intake(hinted, account.id, on_hints=on_hints) as intake:
        livemode = account.settings.require_key().livemode
        now = account.database.clock.now
        receiver = WebhookReceiver(
            secrets, intake.take, now, livemode=livemode, recent=account.recent
        )
        yield receiver, intake
