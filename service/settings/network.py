"""The way to Stripe as the environment sets it for all programs: a proxy, and whose certificates are trusted."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from service.domain.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROXY, NO_PROXY = "HTTPS_PROXY", "NO_PROXY"
CERT_FILE, CERT_DIR = "SSL_CERT_FILE", "SSL_CERT_DIR"
_CERTIFICATE = re.compile(r"-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----")


@dataclass(frozen=True, slots=True)
class Network:
    """*proxy* is an address, with user and password if it has them: it is never shown as it is."""

    proxy: str | None = None
    no_proxy: str | None = None
    cert_file: str | None = None
    cert_dir: str | None = None

    def __repr__(self) -> str:
        return f"Network({self.shown()})"

    def proxy_for(self, base: str) -> str | None:
        """The proxy by which that address is reached. It sees a tunnel, by CONNECT: plain HTTP never goes there."""
        address = urlsplit(base)
        if self.proxy is None or address.scheme != "https" or not address.hostname:
            return None
        excepted = [name.strip().lower() for name in (self.no_proxy or "").split(",")]
        host = address.hostname
        named = {host, f"{host}:{address.port or 443}"}
        within = any(host.endswith(f".{name.lstrip('.')}") for name in excepted if name.strip("."))
        return None if within or "*" in excepted or named & {*excepted} else self.proxy

    def secrets(self) -> list[str]:
        parts = urlsplit(self.proxy or "")
        found = [parts.password, parts.username if parts.password is None else None]
        return [s for secret in found if secret for s in {secret, unquote(secret)}]

    def shown(self) -> dict[str, str | None]:
        """Each by its name, user and password masked."""
        parts = urlsplit(self.proxy or "")
        netloc = (
            f"[masked]@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
        )
        return {
            PROXY: self.proxy and parts._replace(netloc=netloc).geturl(),
            NO_PROXY: self.no_proxy,
            CERT_FILE: self.cert_file,
            CERT_DIR: self.cert_dir,
        }


def network_of(environ: Mapping[str, str]) -> Network:
    """As curl and Python read it: lower case counts before upper case. Raises SettingError naming what is wrong."""
    file, folder = (environ.get(name) or None for name in (CERT_FILE, CERT_DIR))
    if file:
        _check_certificates(file)
    if folder and not Path(folder).is_dir():
        raise SettingError(f"{CERT_DIR} names {folder}, which is no folder")
    proxy = _either(environ, PROXY)
    return Network(_proxy(proxy) if proxy else None, _either(environ, NO_PROXY), file, folder)


def _either(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name.lower(), environ.get(name, "")).strip() or None


def _proxy(text: str) -> str:
    address = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingError(
            f"{PROXY} is no address of an HTTP proxy",
            hint="Write http://host:port, or http://user:password@host:port with # / ? @ % of the password"
            " percent-encoded. SOCKS is not supported.",
        )
    return address


def _check_certificates(path: str) -> None:
    """That a file of certificates is one: OpenSSL passes over a bad one in silence, and then trusts nobody."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        if not _CERTIFICATE.search(text):
            raise SettingError(
                f"{CERT_FILE} names {path}, which holds no certificate",
                hint="It has to be PEM text, with -----BEGIN CERTIFICATE----- before each certificate.",
            )
        ssl.create_default_context(cafile=path)
    except OSError as error:
        reason = error.strerror if not isinstance(error, ssl.SSLError) else "it is damaged"
        raise SettingError(
            f"{CERT_FILE} names {path}, which cannot be read: {reason}",
            hint=f"Correct or remove {CERT_FILE}.",
        ) from None
