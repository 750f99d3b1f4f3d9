"""One request to Stripe and its repetitions: permits, timeouts, retries, counters, and what leaks nothing.

No exception of the HTTP library leaves this module, not even as a cause: some of them carry the
headers that were sent, and the key with them.

The loop of attempts is written out: the decision is pure, what ends it is one deadline for all of a
call, and an answer that asks for patience is no exception that a retry library could be shown.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from random import random
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar

import aiohttp
import msgspec
import structlog

from service.adapters.stripe.http import errors
from service.adapters.stripe.http.answers import (
    REASON,
    Answer,
    Attempt,
    Counters,
    date_of,
    reason_of,
)
from service.adapters.stripe.http.endpoints import LIVE_BASE, STRIPE_VERSION, url_of
from service.adapters.stripe.http.errors import ParsedError, Redactor, StripeGivenUpError
from service.adapters.stripe.http.retry import Failure, Retry, Stop, decide
from service.adapters.stripe.http.route import CONNECT_S, UNREACHED, Route
from service.adapters.stripe.objects.bounds import without_excess
from service.adapters.stripe.objects.render import sound_json
from service.domain.errors import ProtocolError, SettingError
from service.ports.reads import READS_FOR

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from yarl import URL

    from service.adapters.stripe.http.limits import Limits

T = TypeVar("T")

TOTAL_S = 80.0
LARGEST_BODY = 64 * 1024 * 1024
SHORTEST_S = 1.0
"""Even the last attempt before the deadline is given so much time."""

log = structlog.get_logger()


class Transport:
    """Sends requests to the endpoints above, and to no other. An async context manager."""

    def __init__(
        self,
        key: str,
        *,
        now: Callable[[], datetime],
        limits: Limits,
        base: str = LIVE_BASE,
        proxy: str | None = None,
        deadline_s: float = 600.0,
        total_s: float = TOTAL_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.use_key(key)
        self.counters = Counters()
        self.now = now
        self._limits = limits
        self._base = base.rstrip("/")
        self._route = Route(self._base, proxy)
        self._deadline_s = deadline_s
        self._total_s = total_s
        self._sleep = sleep
        self._headers = {
            "Accept-Encoding": "gzip",
            "Stripe-Version": STRIPE_VERSION,
            "User-Agent": f"refund-sync/{version('refund-sync')}",
        }
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    def use_key(self, key: str) -> None:
        """From now on, each request carries this key."""
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise SettingError("the Stripe key is empty, or holds a character that no key has")
        self._redacted = Redactor(key)
        self._authorization = {"Authorization": f"Bearer {key}"}

    def slow_to(self, share: float) -> None:
        """From now on, no faster than this share of the configured rates."""
        self._limits.slow_to(share)

    def free_in_s(self, endpoint: str) -> float:
        """As ``Limits.free_in_s``."""
        return self._limits.free_in_s(endpoint)

    async def send(
        self,
        endpoint: str,
        decode: Callable[[bytes], T],
        *,
        object_id: str = "",
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        tries: int | None = None,
    ) -> Answer[T]:
        """The answer, decoded. *tries* bounds the attempts (a timeout counts twice), time does in any case.

        Raises StripeAwayError past the bound, AccessError, NotFoundError, RefusedError, ProtocolError.
        """
        url = url_of(self._base, endpoint, object_id, params)
        deadline = None
        attempt = spent = 0
        while True:
            attempt += 1
            left_s = self._deadline_s if deadline is None else deadline - monotonic()
            total_s = min(self._total_s, max(left_s, SHORTEST_S))
            ended = await self._attempt(endpoint, url, headers, total_s)
            deadline = deadline or ended.began + self._deadline_s
            answer, ended = self._judged(ended, decode, attempt)
            if answer:
                self.counters.away = None
                return answer
            verdict = self._verdict(endpoint, ended, attempt)
            self.counters.failed(ended.began, self._last_words(ended))
            spent += 2 if ended.failure == "timeout" else 1
            if monotonic() + verdict.after_s > deadline or (tries is not None and spent >= tries):
                raise self._given_up(endpoint, ended)
            self._report(endpoint, ended, attempt, verdict)
            await self._sleep(verdict.after_s)

    async def _attempt(
        self, endpoint: str, url: URL, headers: Mapping[str, str] | None, total_s: float
    ) -> Attempt:
        asked = monotonic()
        async with self._limits.permit(endpoint):
            observed_at, began = self.now(), monotonic()
            self.counters.waited_s += began - asked
            self.counters.requests[endpoint] += 1
            if endpoint.startswith("GET "):
                self.counters.reads[READS_FOR.get(), endpoint] += 1
            ended = Attempt(observed_at, began)
            try:
                return await self._exchange(endpoint, url, headers, total_s, ended)
            except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
                return self._failed(ended, *self._route.failure_of(error, total_s))

    async def _exchange(
        self,
        endpoint: str,
        url: URL,
        headers: Mapping[str, str] | None,
        total_s: float,
        begun: Attempt,
    ) -> Attempt:
        if self._session is None:
            raise RuntimeError("the client is used outside its context")
        async with self._session.request(
            endpoint.partition(" ")[0],
            url,
            headers=self._authorization | dict(headers or {}),
            allow_redirects=False,
            proxy=self._route.proxy,
            timeout=aiohttp.ClientTimeout(total=total_s, connect=min(CONNECT_S, total_s)),
        ) as response:
            body = await _bounded_body(response)
            self.counters.statuses[response.status] += 1
            took_s = monotonic() - begun.began
            return Attempt(
                begun.observed_at, begun.began, took_s, response.status, response.headers, body
            )

    def _failed(self, ended: Attempt, failure: Failure, words: str) -> Attempt:
        self.counters.failures[failure] += 1
        return Attempt(ended.observed_at, ended.began, failure=failure, words=self._redacted(words))

    def _judged(
        self, ended: Attempt, decode: Callable[[bytes], T], attempt: int
    ) -> tuple[Answer[T] | None, Attempt]:
        """The answer, if this is a good one; what is not Stripe's, or only looks good, becomes a failure."""
        if ended.status is None:
            return None, ended
        if not ended.is_good:
            words = errors.foreign(ended.status, ended.headers, ended.body)
            return None, self._failed(ended, "foreign", words) if words else ended
        if (date := date_of(ended.headers)) is None:
            return None, self._failed(ended, "broken", "an answer without a readable Date")
        try:
            body = sound_json(ended.body)
            value, body = _decoded(body, decode)
        except (msgspec.DecodeError, RecursionError) as error:
            words = errors.unexpected(ended.status, ended.body, error)
            return None, self._failed(ended, "broken", words)
        return Answer(
            value, body, ended.headers, ended.observed_at, date, ended.took_s, attempt
        ), ended

    def _verdict(self, endpoint: str, ended: Attempt, attempt: int) -> Retry:
        """When to try again, the limits lowered where they were blamed. Raises where there is no use."""
        if ended.status in {401, 403}:
            self._refuse(ended)
        verdict = decide(
            attempt,
            chance=random(),
            status=ended.status,
            headers=ended.headers,
            failure=ended.failure,
        )
        if isinstance(verdict, Stop):
            self._refuse(ended)
        if ended.status == 429:
            reason = reason_of(ended.headers)
            self.counters.limited[reason] += 1
            if verdict.lower == "rate":
                self._limits.slow_down(endpoint, reason, verdict.pause_s)
            elif verdict.lower == "concurrency":
                self._limits.narrow()
        return verdict

    def _refuse(self, ended: Attempt) -> NoReturn:
        if ended.status is None:
            self.counters.failed(ended.began, ended.words)
            raise StripeGivenUpError(
                f"no trusted connection to Stripe: {ended.words}",
                hint=self._route.hint_of(ended.failure),
                overburdened=False,
            )
        self.counters.away = None
        said = errors.reported_in(ended.body, self._redacted) or ParsedError(f"HTTP {ended.status}")
        raise errors.error_of(ended.status, said)

    def _last_words(self, ended: Attempt) -> str:
        if ended.status is None:
            return ended.words
        said = errors.reported_in(ended.body, self._redacted)
        return f"HTTP {ended.status}: {said.message}" if said else f"HTTP {ended.status}"

    def _given_up(self, endpoint: str, ended: Attempt) -> StripeGivenUpError:
        if ended.failure in UNREACHED:
            says = f"{endpoint}: Stripe was not reached: {ended.words}"
        else:
            says = f"{endpoint}: Stripe gave no good answer; its last: {self._last_words(ended)}"
        return StripeGivenUpError(
            says,
            hint=self._route.hint_of(ended.failure),
            overburdened=ended.overburdened,
        )

    def _report(self, endpoint: str, ended: Attempt, attempt: int, verdict: Retry) -> None:
        why = ended.failure or str(ended.status)
        self.counters.retries[why] += 1
        log.info(
            "stripe.retry_scheduled",
            endpoint=endpoint,
            attempt=attempt,
            why=why,
            reason=ended.headers.get(REASON),
            request_id=ended.headers.get("Request-Id"),
            says=ended.words or None,
            after_s=round(verdict.after_s, 3),
        )


def _decoded(body: bytes, decode: Callable[[bytes], T]) -> tuple[T, bytes]:
    """The value, and what it was decoded from: nesting that no decoder bears is cut from one object alone."""
    try:
        return decode(body), body
    except RecursionError:
        body = without_excess(body)
        return decode(body), body


async def _bounded_body(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > LARGEST_BODY:
            raise ProtocolError(f"an answer is larger than {LARGEST_BODY} bytes")
    return b"".join(parts)
