"""The way to Stripe, and where on it a request failed: name, connection, proxy or trust."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

if TYPE_CHECKING:
    from service.adapters.stripe.http.retry import Failure

CONNECT_S = 10.0
UNREACHED = {"name", "connection", "proxy", "refused by the proxy", "tls"}
"""Failures before Stripe could answer anything."""
KEPT = "Run the same command again later: what was proven is kept."

KINDS: tuple[tuple[type[Exception], Failure], ...] = (
    (aiohttp.ClientHttpProxyError, "refused by the proxy"),
    (aiohttp.ClientConnectorDNSError, "name"),
    (aiohttp.ClientProxyConnectionError, "proxy"),
    (aiohttp.ClientSSLError, "tls"),
    (aiohttp.ConnectionTimeoutError, "connection"),
    (TimeoutError, "timeout"),
    (aiohttp.ClientPayloadError, "broken"),
    (aiohttp.ClientResponseError, "broken"),
)
"""The first that fits counts; all else is a connection that failed."""

OF_THE_PROXY = (
    "Check HTTPS_PROXY: host, port, user and password; and that the proxy permits CONNECT to {stripe}."
    f" NO_PROXY={{host}} goes past it. {KEPT}"
)
HINTS = {
    "name": "Check the name server of this machine or container (/etc/resolv.conf); set HTTPS_PROXY if Stripe is"
    f" reached through a proxy. {KEPT}",
    "connection": "Check that connections to {reached} may leave this machine; set HTTPS_PROXY if Stripe is reached"
    f" through a proxy. {KEPT}",
    "proxy": OF_THE_PROXY,
    "refused by the proxy": OF_THE_PROXY,
    "tls": "Check the clock and the certificates of this machine. Where a proxy opens TLS, set SSL_CERT_FILE to a"
    " file that holds its authority's certificate.",
    "foreign": "Something between this machine and Stripe answers in its place: check proxies, firewalls and"
    " REFUND_SYNC_STRIPE_API_BASE.",
}


class Route:
    """Where requests go: to the host of *base*, through *proxy* if there is one, by CONNECT."""

    def __init__(self, base: str, proxy: str | None) -> None:
        self.proxy = proxy
        self._stripe = _host_and_port(base)
        self._proxy = _host_and_port(proxy) if proxy else ""

    def failure_of(self, error: Exception, total_s: float) -> tuple[Failure, str]:
        """What kind of failure that is, and in which words; no secret is in them."""
        kind: Failure = next((k for known, k in KINDS if isinstance(error, known)), "connection")
        words = str(error) or type(error).__name__
        if isinstance(error, aiohttp.ClientHttpProxyError):
            words = f"the proxy {self._proxy} refuses the way to {self._stripe}: {error.status} {error.message}"
        elif isinstance(error, aiohttp.ClientConnectorDNSError):
            words = f"no address is found for the name {error.host}"
        elif isinstance(error, aiohttp.ClientProxyConnectionError):
            words = f"the proxy {self._proxy} does not answer: {error.os_error}"
        elif isinstance(error, aiohttp.ConnectionTimeoutError):
            words = f"no connection to {self._proxy or self._stripe} in {CONNECT_S:.0f} s"
        elif kind == "timeout":
            words = f"no answer in {total_s:.0f} s"
        return kind, words

    def hint_of(self, failure: Failure | None) -> str:
        """What to look at."""
        host = self._stripe.partition(":")[0]
        reached = self._proxy or self._stripe
        return HINTS.get(failure or "", KEPT).format(
            stripe=self._stripe, host=host, reached=reached
        )


def _host_and_port(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
