"""How instants, spans and amounts read to a person; ``--json`` has them in full precision and minor units."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from service.domain.money import major


def when(instant: str) -> str:
    """An ISO instant as ``2026-11-26 01:19 UTC``."""
    return f"{datetime.fromisoformat(instant).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def when_at_latest(instant: str) -> str:
    """As ``when``, rounded up: from when on something holds is never said too early."""
    at = datetime.fromisoformat(instant)
    return when((at + timedelta(seconds=-at.timestamp() % 60)).isoformat())


def day(instant: str) -> str:
    """The date of an ISO instant, in UTC, as ``26 Nov 2025``."""
    at = datetime.fromisoformat(instant).astimezone(UTC)
    return f"{at.day} {at:%b %Y}"


def since(instant: str, now: datetime) -> str:
    """How long ago, as far as that says more than the instant does."""
    ago = now - datetime.fromisoformat(instant)
    if ago >= timedelta(days=2):
        return when(instant)
    for unit, length in (("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if (count := ago // length) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a minute ago"


def span(pair: list[str]) -> str:
    """Rounded outwards: what is missing is never shown smaller than it is."""
    return f"{when(pair[0])} to {when_at_latest(pair[1])}"


def money(amount_minor: int, currency: str) -> str:
    """In major units; said to be minor ones only where the currency is unknown."""
    amount = major(amount_minor, currency)
    if amount is None:
        return f"{amount_minor:,} {currency} in minor units"
    return f"{amount:,} {currency}"
