"""One request to Stripe and its repetitions: permits, timeouts, retries, counters, and what leaks nothing.

No exception of the HTTP library leaves this module, not even as a cause: some of them carry the
headers that were sent, and the key with them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from math import floor
from random import random
from time import monotonic
from typing import TYPE_CHECKING, Generic, NoReturn, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
import structlog
from yarl import URL

from service.adapters.stripe.errors import Redactor, StripeGivenUpError, error_of, told
from service.adapters.stripe.render import sound_json
from service.adapters.stripe.retry import Failure, Retry, Stop, decide
from service.domain.errors import NotFoundError, ProtocolError, SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from service.adapters.stripe.limits import Limits

T = TypeVar("T")

STRIPE_VERSION = "2026-10-28.endive"
LIVE_BASE = "https://api.stripe.com"
CONNECT_S = 10.0
TOTAL_S = 80.0
LARGEST_BODY = 64 * 1024 * 1024
LONGEST_PAUSE_S = 1.0
"""So long a rate 429 without ``Retry-After`` holds back everybody at most: the bucket refills each second."""

ENDPOINTS = frozenset(
    {
        "GET /v1/account",
        "GET /v1/balance_transactions",
        "GET /v1/balance_transactions/:id",
        "GET /v1/charges/:id",
        "GET /v1/refunds",
        "GET /v1/refunds/:id",
        "POST /v1/refunds/:id/cancel",
    }
)
"""All that is ever asked of Stripe."""

log = structlog.get_logger()


@dataclass(slots=True)
class Counters:
    """What was asked of Stripe since the start, every attempt counted."""

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    limited: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    waited_s: float = 0.0

    @property
    def requests_total(self) -> int:
        return self.requests.total()


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A good answer. *observed_at* is when its attempt began, after the wait for a permit."""

    value: T
    body: bytes
    status: int
    headers: Mapping[str, str]
    observed_at: datetime
    date: float
    took_s: float
    attempts: int

    def settle_bound(self, lag_s: int) -> int:
        """The second up to which a list that gave this answer can be believed.

        Stripe's clock when it was asked, less the lag, and never later than ours less the lag.
        """
        return floor(min(self.date - self.took_s, self.observed_at.timestamp()) - lag_s)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How one attempt ended: in a status with a body, or in a failure with a few words."""

    observed_at: datetime
    began: float
    took_s: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: Failure | None = None
    words: str = ""


class Transport:
    """Sends requests to the endpoints above, and to no other. An async context manager."""

    def __init__(
        self,
        key: str,
        *,
        now: Callable[[], datetime],
        limits: Limits,
        base: str = LIVE_BASE,
        deadline_s: float = 600.0,
        total_s: float = TOTAL_S,
    ) -> None:
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise SettingError("the Stripe key is empty, or holds a character that no key has")
        self.counters = Counters()
        self._redacted = Redactor(key)
        self._now = now
        self._limits = limits
        self._base = base.rstrip("/")
        self._deadline_s = deadline_s
        self._total_s = total_s
        self._headers = {
            "Accept-Encoding": "gzip",
            "Authorization": f"Bearer {key}",
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
        url = self._url(endpoint, object_id, params)
        deadline = None
        attempt = spent = 0
        while True:
            attempt += 1
            left_s = self._deadline_s if deadline is None else deadline - monotonic()
            ended = await self._attempt(endpoint, url, headers, min(self._total_s, left_s))
            deadline = deadline or ended.began + self._deadline_s
            answer, ended = self._judged(ended, decode, attempt)
            if answer:
                return answer
            verdict = self._verdict(endpoint, ended, attempt)
            spent += 2 if ended.failure == "timeout" else 1
            if monotonic() + verdict.after_s > deadline or (tries is not None and spent >= tries):
                raise self._given_up(endpoint, ended, verdict)
            self._tell(endpoint, ended, attempt, verdict)
            await asyncio.sleep(verdict.after_s)

    def _url(self, endpoint: str, object_id: str, params: Sequence[tuple[str, str]]) -> URL:
        if endpoint not in ENDPOINTS:
            raise ValueError(f"not an endpoint that is ever asked: {endpoint}")
        path = endpoint.partition(" ")[2]
        if ":id" in path:
            if not object_id.strip("."):
                raise NotFoundError(f"not an id: {object_id!r}")
            path = path.replace(":id", quote(object_id, safe=""))
        query = f"?{urlencode(params)}" if params else ""
        return URL(f"{self._base}{path}{query}", encoded=True)

    async def _attempt(
        self, endpoint: str, url: URL, headers: Mapping[str, str] | None, total_s: float
    ) -> _Attempt:
        asked = monotonic()
        async with self._limits.permit(endpoint):
            observed_at, began = self._now(), monotonic()
            self.counters.waited_s += began - asked
            self.counters.requests[endpoint] += 1
            ended = _Attempt(observed_at, began)
            try:
                return await self._exchange(endpoint, url, headers, total_s, ended)
            except TimeoutError:
                return self._failed(ended, "timeout", f"no answer in {total_s:.0f} s")
            except aiohttp.ClientSSLError as error:
                return self._failed(ended, "tls", str(error))
            except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
                return self._failed(ended, "broken", str(error))
            except (aiohttp.ClientError, OSError) as error:
                return self._failed(ended, "connection", str(error) or type(error).__name__)

    async def _exchange(
        self,
        endpoint: str,
        url: URL,
        headers: Mapping[str, str] | None,
        total_s: float,
        begun: _Attempt,
    ) -> _Attempt:
        if self._session is None:
            raise RuntimeError("the client is used outside its context")
        async with self._session.request(
            endpoint.partition(" ")[0],
            url,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=total_s, connect=min(CONNECT_S, total_s)),
        ) as response:
            body = await _bounded_body(response)
            self.counters.statuses[response.status] += 1
            took_s = monotonic() - begun.began
            return _Attempt(
                begun.observed_at, begun.began, took_s, response.status, response.headers, body
            )

    def _failed(self, ended: _Attempt, failure: Failure, words: str) -> _Attempt:
        self.counters.failures[failure] += 1
        return _Attempt(
            ended.observed_at, ended.began, failure=failure, words=self._redacted(words)
        )

    def _judged(
        self, ended: _Attempt, decode: Callable[[bytes], T], attempt: int
    ) -> tuple[Answer[T] | None, _Attempt]:
        """The answer, if this is a good one; what looks good and is cut short becomes a failure."""
        if ended.status is None or not 200 <= ended.status < 300:
            return None, ended
        date = _date_of(ended.headers)
        if date is None:
            return None, self._failed(ended, "broken", "an answer without a readable Date")
        try:
            body = sound_json(ended.body)
            value = decode(body)
        except msgspec.ValidationError as error:
            raise ProtocolError(f"an answer has not the shape it should have: {error}") from None
        except (msgspec.DecodeError, RecursionError):
            return None, self._failed(ended, "broken", "an answer that is no JSON, or cut short")
        return Answer(
            value,
            body,
            ended.status,
            ended.headers,
            ended.observed_at,
            date,
            ended.took_s,
            attempt,
        ), ended

    def _verdict(self, endpoint: str, ended: _Attempt, attempt: int) -> Retry:
        """When to try again, the limits lowered where they were blamed. Raises where there is no use."""
        if ended.status is not None and (ended.status in {401, 403} or 300 <= ended.status < 400):
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
            reason = ended.headers.get("Stripe-Rate-Limited-Reason", "none")
            self.counters.limited[reason] += 1
            if verdict.lower == "rate":
                self._limits.slow_down(endpoint, reason, min(verdict.after_s, LONGEST_PAUSE_S))
            elif verdict.lower == "concurrency":
                self._limits.narrow()
        return verdict

    def _refuse(self, ended: _Attempt) -> NoReturn:
        if ended.status is None:
            raise StripeGivenUpError(
                f"no trusted connection to Stripe: {ended.words}",
                hint="Check the certificates of this machine, and any proxy on the way.",
                overburdened=False,
            )
        raise error_of(ended.status, told(ended.status, ended.body, self._redacted))

    def _given_up(self, endpoint: str, ended: _Attempt, verdict: Retry) -> StripeGivenUpError:
        last = ended.words
        if ended.status is not None:
            last = f"HTTP {ended.status}: {told(ended.status, ended.body, self._redacted).message}"
        return StripeGivenUpError(
            f"{endpoint}: Stripe gave no good answer; its last: {last}",
            hint="Run the same command again later: what was proven is kept.",
            overburdened=ended.failure == "timeout"
            or (ended.status or 0) >= 500
            or verdict.lower == "concurrency",
        )

    def _tell(self, endpoint: str, ended: _Attempt, attempt: int, verdict: Retry) -> None:
        why = ended.failure or str(ended.status)
        self.counters.retries[why] += 1
        log.info(
            "stripe.retry_scheduled",
            endpoint=endpoint,
            attempt=attempt,
            why=why,
            reason=ended.headers.get("Stripe-Rate-Limited-Reason"),
            request_id=ended.headers.get("Request-Id"),
            after_s=round(verdict.after_s, 3),
        )


async def _bounded_body(response: aiohttp.ClientResponse) -> bytes:
    parts = bytearray()
    async for part in response.content.iter_any():
        parts += part
        if len(parts) > LARGEST_BODY:
            raise ProtocolError(f"an answer is larger than {LARGEST_BODY} bytes")
    return bytes(parts)


def _date_of(headers: Mapping[str, str]) -> float | None:
    try:
        date = parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
