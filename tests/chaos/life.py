"""One life, given by a seed: what changes at Stripe, what fails, who is killed, and that all is right in the end."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from service.simulator.http.faults import CHANCES
from tests.acceptance.daemons import TODAY
from tests.acceptance.stage import KEY, simulated_stripe
from tests.chaos.crew import MOST_MIB, Crew, ScaledPlace
from tests.chaos.scaled import CLOCK, CONFIRM_S, SETTLED_AFTER_S
from tests.chaos.watch import Watcher, wrong_in_the_end
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.acceptance.stage import Stripe
    from tests.databases import OwnServer

REFUNDS = 1_500
PACED = {"endpoint_rate": 12, "global_rate": 20}
"""So slow that the first fill is looked at, killed and frozen in its midst."""
FILLING_S = 5
LAG_S = 2
SECRET = "whsec_chaos000000000000000000"
BEGIN = (TODAY - timedelta(days=70)).isoformat()
PASSES = 8
SILENT = ("hide", "unhide", "delete", "spoil", "mend")
CHANGES = (
    "settle",
    "fail",
    "cancel",
    "requires_action",
    "pending",
    "arn",
    "metadata",
    "second_refund",
)
FULL = """
CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE OR REPLACE TRIGGER full_disk BEFORE INSERT ON refund_sync.coverage_claim EXECUTE FUNCTION full_disk()
"""


@dataclass
class Life:
    """*seconds* of it are turbulent. What happened is in *story*, a line each."""

    seed: int
    seconds: float
    folder: Path
    server: OwnServer
    story: list[str] = field(default_factory=list)

    async def live(self) -> list[str]:
        """Everything that was wrong, while it lasted and in the end."""
        self.chance = random.Random(self.seed)
        self.clock = self.folder / "clock"
        self.clock.write_text("0")
        options = {"from": BEGIN, "to": TODAY.isoformat(), "seed": self.seed, "refunds": REFUNDS}
        with simulated_stripe(**options) as self.stripe:
            ports = free_port(), free_port()
            self.place = self._place(self.stripe)
            self.crew = Crew(self.place, ports)
            self.watcher = Watcher(self.stripe, self.place)
            try:
                self.place.run("migrate")
                self._push(ports[0])
                await self._turbulence()
                await self._calm()
                return [*self.crew.wrong, *self.watcher.wrong, *await self._settled()]
            finally:
                self.crew.kill()

    def _place(self, stripe: Stripe) -> ScaledPlace:
        settings: dict[str, object] = {
            "since": BEGIN, "settle_lag_s": LAG_S, "sync_interval_s": 1, "read_allowance": 100_000_000,
            "deadline_s": 5, "drain_s": 3, "lease_s": 2, "webhook_secrets": SECRET, "log_format": "json",
            **PACED,
        }  # fmt: skip
        return ScaledPlace(stripe, self.folder, self.server.dsn, settings, {CLOCK: str(self.clock)})

    def _push(self, port: int) -> None:
        self.stripe.call(
            "POST", "webhooks", url=f"http://127.0.0.1:{port}/webhooks/stripe", secret=SECRET,
            lose=0.2, double=0.2, reorder=0.3,
        )  # fmt: skip

    async def _turbulence(self) -> None:
        deeds: dict[Callable[[], Awaitable[None] | None], int] = {
            self._change: 30, self._arrive: 20, self._silently: 8, self._fail: 10, self._refuse: 2,
            self._lie: 3, self._kill: 5, self._freeze: 4, self._stop: 2, self._restart_postgres: 1,
            self._fill_disk: 2, self._step_clock: 2, self._command: 8, self._forge: 3, self._heal: 8,
        }  # fmt: skip
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            self.crew.keep_daemons()
            self.crew.reap()
            (deed,) = self.chance.choices(list(deeds), list(deeds.values()))
            self._report(deed.__name__)
            if (going_on := deed()) is not None:
                await going_on
            filling = end - time.monotonic() > self.seconds - FILLING_S
            if filling or self.chance.random() < 0.2:
                await self.watcher.look()
            await asyncio.sleep(self.chance.uniform(0.02, 0.25))

    def _report(self, what: str) -> None:
        self.story.append(f"{datetime.now(UTC):%H:%M:%S.%f} {what.strip('_')}")

    def _changed(self, kind: str, **values: Any) -> list[str]:
        """Ids; none where nothing fits such a change now."""
        try:
            return self.stripe.change(kind, **values)
        except AssertionError as error:
            if "no refund" not in str(error):
                raise
            return []

    def _change(self) -> None:
        """With or without an event; those of the second kind are found by reading again alone."""
        kind = self.chance.choice(CHANGES)
        self._changed(kind, count=self.chance.randint(1, 4), events=self.chance.random() < 0.8)

    def _arrive(self) -> None:
        """New ones, and late ones: listed only when their second has passed, within the lag or after it."""
        if self.chance.random() < 0.6:
            self._changed("new", count=self.chance.randint(1, 5))
            return
        age_s = self.chance.choice((0, SETTLED_AFTER_S - 3))
        ids = self._changed("late", created=int(time.time()) - age_s)
        self.watcher.late.update(ids if age_s else ())

    def _silently(self) -> None:
        kind = self.chance.choice(SILENT)
        ids = self._changed(kind)
        if kind in {"hide", "unhide", "delete"}:
            self.watcher.moved.update(ids)

    def _fail(self) -> None:
        names = self.chance.sample(CHANCES, 3)
        self.stripe.faults(
            **{name: self.chance.uniform(0.05, 0.4) for name in names}, stall_s=0.3,
            wrong_date_s=self.chance.choice((0, 0, 0, -1)),
        )  # fmt: skip

    def _refuse(self) -> None:
        self.stripe.faults(
            **self.chance.choice((
                {"keys_refused": [KEY]}, {"list_400": 0.3}, {"list_404": 0.3}, {"refused_key": 0.3},
                {"permissions_removed": ["rak_event_read"]},
            ))
        )  # fmt: skip

    def _lie(self) -> None:
        """A copy that lags: refunds that are listed, and unknown by their ids."""
        truth = self.stripe.truth()
        self.stripe.faults(denied=[plain["id"] for plain in self.chance.sample(truth, 20)])

    def _heal(self) -> None:
        self.stripe.heal()
        self.crew.thaw()
        self.clock.write_text("0")

    def _kill(self) -> None:
        if worker := self.crew.anyone(self.chance):
            worker.signal(signal.SIGKILL)
            worker.process.wait()

    def _stop(self) -> None:
        worker = self.crew.anyone(self.chance)
        if worker and not worker.frozen:
            worker.signal(signal.SIGTERM)

    def _freeze(self) -> None:
        if worker := self.crew.anyone(self.chance):
            worker.freeze()

    def _restart_postgres(self) -> None:
        self.server.stop_immediately()
        self.server.start()

    async def _fill_disk(self) -> None:
        await self.place.execute(FULL)
        await asyncio.sleep(self.chance.uniform(0.3, 1))
        await self.place.execute("DROP TRIGGER full_disk ON refund_sync.coverage_claim")

    def _step_clock(self) -> None:
        self.clock.write_text(str(self.chance.choice((-90, -10, 10, 90, 3_600))))

    def _command(self) -> None:
        ids = [plain["id"] for plain in self.stripe.truth()]
        first = TODAY - timedelta(days=self.chance.randint(2, 70))
        span = ("--from", first.isoformat(), "--to", (first + timedelta(days=20)).isoformat())
        self.crew.begin(
            *self.chance.choice((
                ("backfill", *span), ("verify", "--repair", *span), ("verify", *span), ("sync",),
                ("fetch", *self.chance.sample(ids, 5)), ("status", "--check"),
            ))
        )  # fmt: skip

    def _forge(self) -> None:
        """A webhook that nobody signed as it should be."""
        body = json.dumps({"id": "evt_1", "object": "event", "type": "refund.updated"}).encode()
        url = f"http://127.0.0.1:{self.crew.ports[0]}/webhooks/stripe"
        signed = {"Stripe-Signature": f"t={int(time.time())},v1={'0' * 64}"}
        try:
            with urlopen(Request(url, data=body, headers=signed), timeout=2) as answer:
                self.watcher.wrong.append(f"a forged webhook was answered {answer.status}")
        except HTTPError as error:
            if error.code not in {400, 503}:
                self.watcher.wrong.append(f"a forged webhook was answered {error.code}")
        except (URLError, OSError):
            pass  # the daemon is away, or frozen

    async def _calm(self) -> None:
        """The faults stop; the daemons go on for as long as the rules take, and end."""
        self._report("calm")
        self._heal()
        while self._changed("mend"):
            pass
        self.crew.keep_daemons()
        await asyncio.sleep(LAG_S + SETTLED_AFTER_S + 2 * CONFIRM_S)
        await self.watcher.look()
        self.crew.end()
        for name in PACED:
            del self.place.settings[name]
        if self.crew.most_mib > MOST_MIB:
            self.crew.wrong.append(f"a process took {self.crew.most_mib:.0f} MiB")
        if not self.watcher.looks:
            self.watcher.wrong.append("nobody could look while it lasted")

    async def _settled(self) -> list[str]:
        """What is still wrong after that many passes. What nothing reported is found by reading all again."""
        wrong = ["no pass was made"]
        for _ in range(PASSES):
            self._passed("sync")
            code = self._passed("verify", "--repair")
            if code == 0 and not (wrong := await wrong_in_the_end(self.stripe, self.place)):
                return []
            await asyncio.sleep(CONFIRM_S)
        return [f"after {PASSES} passes: {line}" for line in wrong[:10]]

    def _passed(self, *arguments: str) -> int:
        worker = self.crew.start(*arguments)
        code = worker.process.wait(120)
        if wrong := worker.wrong():
            self.crew.wrong.append(wrong)
        return code
