"""Months in seconds: the daemon's own rounds on a real Postgres and a simulated Stripe, by a clock that jumps."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

from service.adapters.postgres.rechecks.hints import PostgresHinted
from service.adapters.postgres.session.clock import DatabaseClock
from service.adapters.postgres.session.database import Database
from service.adapters.stripe.webhook import WebhookReceiver
from service.adapters.web.metrics import Metrics
from service.app.accounts import open_account
from service.jobs.intake import Intake
from service.settings import Settings
from service.simulator.http.server import Simulator
from service.simulator.http.webhooks import signature
from service.simulator.world.account import World
from service.worker.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from service.adapters.postgres.session.connect import Connection, Pool
    from service.app.accounts import Account
    from service.simulator.world.objects import Json

DAY = 86_400
BEGIN = 1_750_000_000 // DAY * DAY
"""A midnight long enough ago that nothing simulated lies in the future of the database's own clock."""
SECRET = "whsec_simulated"
KEY = "rk_test_simulated000000000000000"
_numbers = count()


@dataclass
class Clock:
    """The time of everybody: ours, Stripe's, and the database's as reads are ordered by it."""

    second: float = BEGIN

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.second, UTC)

    def time(self) -> float:
        return self.second


class MovedDatabaseClock(DatabaseClock):
    """The database's clock, moved to the simulated time; no two reads begin at one instant."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._ticks = count(1)

    def now(self) -> datetime:
        self._clock.second += 1e-4
        return self._clock.now()

    async def keep_fresh(self, connection: Connection) -> None:
        """Nothing to learn from the database."""


@dataclass
class Nets:
    """Which of the nets are spread, and how many webhooks get lost, doubled or reordered."""

    events: bool = True
    rechecks: bool = True
    webhooks: bool = False
    lost: float = 0.0
    doubled: float = 0.0
    reordered: float = 0.0


@dataclass
class Life:
    """One account of Stripe and one daemon, at the same simulated time."""

    clock: Clock
    stripe: Simulator
    account: Account
    rounds: Rounds
    nets: Nets
    receiver: WebhookReceiver
    chance: Random
    pool: Pool
    undelivered: list[tuple[int, Json]] = field(default_factory=list)
    states: dict[str, list[str]] = field(default_factory=dict)
    """Every state that each refund ever had at Stripe, as text, oldest first."""

    def note(self) -> None:
        for plain in self.stripe.world.truth():
            reported = json.dumps(plain, sort_keys=True)
            known = self.states.setdefault(plain["id"], [])
            if not known or known[-1] != reported:
                known.append(reported)

    def change(self, kind: str, **options: Any) -> list[str]:
        """Something happens at Stripe; nothing where no refund fits."""
        try:
            return self.stripe.change(kind, **options)
        except ValueError:
            return []
        finally:
            self.note()

    async def pass_time(self, seconds: float, *, away: bool = False) -> None:
        """Time passes; then the daemon does what it does on a tick, unless it is *away*."""
        self.clock.second += seconds
        await self._deliver(away=away)
        if away:
            return
        await self.rounds.poll()
        await self.rounds.look_again()
        await self.rounds.read_hints()
        if self.nets.rechecks:
            await self.rounds.recheck()
        await self.rounds.fill()

    async def _deliver(self, *, away: bool) -> None:
        """What Stripe pushes: lost, doubled and out of order as the nets say. Nobody answers who is away."""
        waiting, self.undelivered = self.undelivered, []
        if away or not self.nets.webhooks:
            return
        if self.chance.random() < self.nets.reordered:
            self.chance.shuffle(waiting)
        for _, event in waiting:
            if self.chance.random() < self.nets.lost:
                continue
            for _ in range(1 + (self.chance.random() < self.nets.doubled)):
                body = json.dumps(event)
                second = int(self.clock.second)
                status = await self.receiver.receive(body.encode(), signature(SECRET, second, body))
                assert status == 200

    @property
    def reads(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for (kind, _), reads in self.account.client.counters.reads.items():
            total[kind] = total.get(kind, 0) + reads
        return total

    def listed(self) -> Sequence[Json]:
        return list(self.stripe.world.truth())


@asynccontextmanager
async def a_life(
    pool: Pool, *, seed: int = 7, refunds: int = 0, nets: Nets | None = None, **settings: Any
) -> AsyncIterator[Life]:
    """An account of its own in the database behind *pool*: many lives fit in one database."""
    nets = nets or Nets()
    clock, number = Clock(), next(_numbers)
    world = World.seeded(
        refunds,
        start=BEGIN - 200 * DAY,
        end=BEGIN - 3_600,
        seed=seed,
        account=f"acct_1Life{number}",
    )
    async with Simulator(world, now=clock.time) as stripe:
        if not nets.events:
            stripe.faults.permissions_removed = ["rak_event_read"]
        chosen = Settings.model_validate(
            {
                "stripe_api_key": f"{KEY}{number}", "stripe_api_base": stripe.url, "endpoint_rate": 1e6,
                "global_rate": 1e6, "since": datetime.fromtimestamp(BEGIN - 201 * DAY, UTC),
                "read_allowance": 10**9, "deadline_s": 20, "concurrency": 4,
            }
            | settings
        )  # fmt: skip
        database = Database(pool, deadline_s=20, clock=MovedDatabaseClock(clock))
        async with open_account(chosen, database, clock=clock, daemon=True) as opened:
            account = replace(opened, met_s=BEGIN)
            async with Intake(
                PostgresHinted(database, clock), account.id, on_hints=lambda: None
            ) as intake:
                receiver = WebhookReceiver(
                    [SECRET],
                    intake.take,
                    database.clock.now,
                    second=clock.time,
                    recent=account.recent,
                )
                rounds = Rounds(
                    account, Metrics(), intake if nets.webhooks else None, asyncio.Event()
                )
                life = Life(clock, stripe, account, rounds, nets, receiver, Random(seed), pool)
                world.events.recent = lambda event: life.undelivered.append((0, event))
                life.note()
                yield life
