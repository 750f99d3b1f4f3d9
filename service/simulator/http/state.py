"""What the simulator's handlers read and change."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from service.simulator.http.faults import Faults
from service.simulator.http.keys import key_of
from service.simulator.http.limits import Limits
from service.simulator.http.lists import RequestError
from service.simulator.http.stats import Stats
from service.simulator.http.webhooks import Webhooks
from service.simulator.world.occasion import Occasion
from service.simulator.world.script import happen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from service.simulator.world.account import World

PERMISSIONS = {
    "charge": "rak_charge_read",
    "charge_write": "rak_charge_write",
    "balance_transaction": "rak_balance_transaction_source_read",
    "event": "rak_event_read",
    "account": "rak_accounts_read",
}


@dataclass
class State:
    """What requests are answered from: worlds, faults, limits, counters, the clock.

    *now* is its clock, for everything but the rate limits, which are of this world.
    """

    world: World
    limits: Limits = field(default_factory=Limits)
    latency_s: float = 0.0
    gzip: bool = False
    keys: frozenset[str] = frozenset()
    others: dict[str, World] = field(default_factory=dict)
    port: int = 0
    seed: int = 7
    now: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self.faults = Faults()
        self.stats = Stats()
        self.offset_s = 0.0
        self.chance = Random(self.seed)
        self.answers: dict[str, tuple[str, bytes]] = {}
        self.webhooks = Webhooks(self.seed, second=self.second, count=self._delivered)

    def second(self) -> int:
        """What time it is here: the clock, moved by ``/_sim/clock``."""
        return int(self.now() + self.offset_s)

    def world_of(self, account: str | None) -> World:
        """Raises ValueError where there is no such account."""
        if account is None or account == self.world.account:
            return self.world
        if account not in self.others:
            raise ValueError(f"no such account: {account}")
        return self.others[account]

    def change(
        self, kind: str, *, count: int = 1, ids: Sequence[str] = (), created: int | None = None,
        events: bool | str = True, account: str | None = None,
    ) -> list[str]:  # fmt: skip
        """Makes something happen, now or at *created*, to the refunds named or to *count* others.

        Returns their ids. Raises ValueError where nothing fits.
        """
        if kind == "late" and created is None:
            raise ValueError("late needs created: the second in the past that it arrives in")
        at = Occasion(self.world_of(account), self.second() if created is None else created, events)
        return happen(kind, at, self.chance, count=count, ids=ids)

    def _delivered(self, status: int | None) -> None:
        self.stats.delivered(status)

    def require(self, request: web.Request, *names: str) -> None:
        """Raises 403 in Stripe's words where a permission was taken away."""
        for name in names:
            permission = PERMISSIONS[name]
            if permission in self.faults.permissions_removed:
                key = key_of(request)
                shown = key if self.faults.key_in_error else f"{key[:8]}***{key[-4:]}"
                account = (
                    "" if self.faults.account_unknown else f" on account '{self.world.account}'"
                )
                raise RequestError(
                    f"The provided key '{shown}' does not have the required permissions for this endpoint"
                    f"{account}. Having the '{permission}' permission would allow this request to continue.",
                    status=403,
                )
