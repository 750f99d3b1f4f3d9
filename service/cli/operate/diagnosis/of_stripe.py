"""What Stripe says: of the key, the account, permissions, and the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from service.adapters.stripe.http.endpoints import STRIPE_VERSION
from service.adapters.stripe.http.errors import PERMISSIONS, StripeAccessError
from service.adapters.stripe.identity import resolve_account
from service.app import accounts
from service.cli.operate.diagnosis.finding import CLOCKS_APART_S, Finding, failed, ok, warning
from service.domain.errors import RefundSyncError, SettingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from service.adapters.stripe.client import StripeClient
    from service.adapters.stripe.http.answers import Answer
    from service.settings import Settings, StripeKey


async def of_stripe(settings: Settings) -> AsyncIterator[Finding]:
    try:
        key = settings.require_key()
    except RefundSyncError as error:
        yield failed("key", error)
        return
    yield _of_key(key)
    yield ok("API version", f"{STRIPE_VERSION}, pinned on every request")
    async with accounts.make_client(settings, lambda: datetime.now(UTC)) as client:
        try:
            async for finding in _of_answers(settings, client, livemode=key.livemode):
                yield finding
        except StripeAccessError as error:
            yield failed("key", error)
        except RefundSyncError as error:
            yield failed("Stripe", error)


def _of_key(key: StripeKey) -> Finding:
    if key.kind == "restricted":
        return ok("key", f"restricted, {'live' if key.livemode else 'test'} mode")
    return warning(
        "key",
        "a secret key of live mode (sk_live_): it may move money"
        if key.livemode
        else "a secret key of test mode (sk_test_): it may do everything there",
        "Use a restricted key, with no other permissions than those below.",
    )


async def _of_answers(
    settings: Settings, client: StripeClient, *, livemode: bool
) -> AsyncIterator[Finding]:
    """Raises what makes further questions pointless: the key is refused, or Stripe is away."""
    yield await _account(settings, client, livemode=livemode)
    answers: list[Answer[Any]] = []
    for need in _needs(client):
        yield await _may(need, answers)
    if answers:
        yield _of_clock(answers[-1])


async def _account(settings: Settings, client: StripeClient, *, livemode: bool) -> Finding:
    async def none_stored(_account_id: str) -> list[str]:
        return []

    try:
        identity = await resolve_account(
            client,
            account_id_setting=settings.account_id,
            livemode=livemode,
            newest_stored=none_stored,
        )
    except SettingError as error:
        return failed("account", error)
    return ok("account", identity.account_id + ("" if identity.confirmed else ", as set"))


@dataclass(frozen=True, slots=True)
class Need:
    """A permission by the Dashboard's name; *lost* is what goes without it, empty where all does."""

    what: str
    permission: str
    read: Callable[[], Awaitable[Answer[Any]]]
    lost: str = ""


def _needs(client: StripeClient) -> tuple[Need, ...]:
    """Each read that a sync makes, to be tried once."""
    return (
        Need(
            "refunds, charges",
            "Charges and Refunds: Read",
            lambda: client.refunds(limit=1, expand=("data.charge",)),
        ),
        Need(
            "ledger lines",
            "Balance Transaction Sources: Read",
            lambda: client.balance_transactions(limit=1),
        ),
        Need(
            "events",
            "Events: Read",
            lambda: client.events(limit=1),
            lost="later changes are seen only when a refund's turn comes to be read again",
        ),
    )


async def _may(need: Need, answers: list[Answer[Any]]) -> Finding:
    try:
        answers.append(await need.read())
    except StripeAccessError as error:
        return _refused(need, error)
    return ok(need.what, f"{need.permission}: granted")


def _refused(need: Need, error: StripeAccessError) -> Finding:
    """Stripe's text names the permission that it misses, which may be another than we think."""
    named = PERMISSIONS.get(error.permission or "", error.permission)
    says = f"{named}: missing" if named else str(error)
    if need.lost:
        return warning(need.what, says, f"Without it {need.lost}.")
    return Finding("error", need.what, says, error.hint, error.exit_code)


def _of_clock(answer: Answer[Any]) -> Finding:
    """Stripe's Date has whole seconds."""
    ahead_s = answer.observed_at.timestamp() - answer.date - 0.5
    if abs(ahead_s) > CLOCKS_APART_S:
        return warning(
            "clock",
            f"this machine is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} Stripe",
            "Set it by NTP. Claims keep to whichever clock is behind.",
        )
    return ok(
        "clock", f"{'within a second' if abs(ahead_s) <= 1 else f'{ahead_s:+.0f} s'} of Stripe's"
    )
