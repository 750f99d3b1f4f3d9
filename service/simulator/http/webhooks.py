"""Events pushed to the registered endpoints: signed and retried; lost, doubled and late on demand."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.simulator.world.objects import Json

AT_ONCE = 32
MOST_WAITING = 100_000
LONGEST_WAIT_S = 30.0
TIMEOUT = aiohttp.ClientTimeout(total=20)
LOOPBACK = ("127.0.0.1", "::1", "localhost")
THIN = {f"refund.{what}": f"v1.refund.{what}" for what in ("created", "updated", "failed")}


@dataclass(frozen=True, slots=True)
class Hook:
    """Where events go. Chances are from 0 to 1: of no delivery, of two, of one up to *late_s* later."""

    url: str
    secret: str
    lose: float = 0
    double: float = 0
    reorder: float = 0
    thin: bool = False
    account: str | None = None
    late_s: float = 1
    tries: int = 10
    retry_s: float = 0.2

    def __post_init__(self) -> None:
        if urlsplit(self.url).hostname not in LOOPBACK:
            raise ValueError("webhooks go to loopback only")

    def body(self, event: Json, account: str | None) -> str | None:
        """What is sent of an event; None where nothing is. *account* is the connected one it is of."""
        account = self.account or account
        if not self.thin:
            connect = {} if account is None else {"account": account}
            return json.dumps(event | connect | {"pending_webhooks": 1})
        return json.dumps(_notification(event, account)) if event["type"] in THIN else None


def _notification(event: Json, account: str | None) -> Json:
    """The thin form: what to read, and nothing of its contents."""
    object_id = event["data"]["object"]["id"]
    created = datetime.fromtimestamp(event["created"], UTC)
    return {
        "id": event["id"].replace("evt_3", "evt_thin_"), "object": "v2.core.event",
        "type": THIN[event["type"]], "created": f"{created:%Y-%m-%dT%H:%M:%S}.000Z",
        "livemode": event["livemode"], "context": account, "snapshot_event": event["id"],
        "related_object": {"id": object_id, "type": "refund", "url": f"/v1/refunds/{object_id}"},
    }  # fmt: skip


def signature(secret: str, second: int, body: str) -> str:
    signed = hmac.new(secret.encode(), f"{second}.{body}".encode(), hashlib.sha256)
    return f"t={second},v1={signed.hexdigest()}"


class Webhooks:
    """Deliveries are tasks of their own: bounded in flight and in the queue, and ended by ``close``."""

    def __init__(
        self, seed: int, *, second: Callable[[], int], count: Callable[[int | None], None]
    ) -> None:
        self._chance = Random(seed)
        self._second = second
        self._count = count
        self._hooks: list[Hook] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    @property
    def waiting(self) -> int:
        """Deliveries that have not ended."""
        return len(self._tasks)

    def add(self, hook: Hook) -> None:
        """From now on, events go there too."""
        self._hooks.append(hook)

    def send(self, event: Json, account: str | None = None) -> None:
        for hook in self._hooks:
            body = hook.body(event, account)
            if body is None or self._chance.random() < hook.lose:
                continue
            for _ in range(1 + (self._chance.random() < hook.double)):
                is_late = self._chance.random() < hook.reorder
                self._start(hook, body, self._chance.random() * hook.late_s if is_late else 0)

    def _start(self, hook: Hook, body: str, wait_s: float) -> None:
        if len(self._tasks) >= MOST_WAITING:
            raise RuntimeError(f"{MOST_WAITING} deliveries wait already")
        task = asyncio.get_running_loop().create_task(self._deliver(hook, body, wait_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, hook: Hook, body: str, wait_s: float) -> None:
        """Until somebody says 2xx, or the tries are used up."""
        await asyncio.sleep(wait_s)
        for nth in range(hook.tries):
            async with self._turns:
                status = await self._post(hook, body)
            self._count(status)
            if status is not None and 200 <= status < 300:
                return
            if nth + 1 < hook.tries:
                await asyncio.sleep(min(hook.retry_s * 2**nth, LONGEST_WAIT_S))

    async def _post(self, hook: Hook, body: str) -> int | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(hook.secret, self._second(), body),
        }
        try:
            async with self._session.post(
                hook.url, data=body.encode(), headers=headers, allow_redirects=False
            ) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def settled(self) -> None:
        """Returns when every delivery has ended, well or not."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def clear(self) -> None:
        """Ends all deliveries, those in flight too."""
        self._hooks.clear()
        for task in self._tasks:
            task.cancel()
        await self.settled()

    async def close(self) -> None:
        await self.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None
