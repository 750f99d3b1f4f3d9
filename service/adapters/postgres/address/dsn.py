"""A connection string taken apart: a URL, or libpq's ``host=… dbname=…``; nothing is looked up or opened.

What is not clear is refused whole: a sign that was not encoded makes a host or a parameter of the rest of
a password, and a host is looked up, a parameter is named in a message.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from service.domain.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Collection

SETTING = "DATABASE_URL"
FORM = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"

_URL = re.compile(r"[A-Za-z][\w+:.-]*://")
_KEYWORDS = re.compile(r"\s*\w+\s*=")
_PAIR = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?!')(?:[^\s\\]|\\.)*)(?=\s|$)", re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NAME = re.compile(r"[A-Za-z][\w.-]{0,40}")
_HOST = re.compile(r"[\w.-]+|[\da-fA-F:.]+(?:%\w+)?|/[^\0]*|@[^\0]*")
_PORT = re.compile(r"\d{0,5}")
_MAY_HOLD_AT = frozenset({"user", "password"})

_OTHER_SCHEMES = {
    "jdbc:postgresql": "It is JDBC's form, whose parameters mean other things.",
    "prisma": "It is the address of Prisma's own proxy, which does not speak Postgres's protocol.",
    "prisma+postgres": "It is the address of Prisma's own proxy, which does not speak Postgres's protocol.",
    "http": "It is a web address.",
    "https": "It is a web address.",
    "mysql": "It is not Postgres.",
    "mariadb": "It is not Postgres.",
    "sqlite": "It is not Postgres.",
}


def parse(text: str, known: Collection[str]) -> dict[str, str]:
    """The parameters in *text* by name, hosts and ports as comma-separated lists.

    Raises SettingError where it is not clear or names what is not *known*; no message holds a piece of
    what might be a password.
    """
    if text.startswith(("psql ", "'", '"')):
        raise SettingError(
            f"{SETTING} has quotes or a command around the address",
            hint=f"Give the address alone: {FORM}",
        )
    if not _URL.match(text) and _KEYWORDS.match(text):
        return _of_keywords(text, known)
    return _of_url(text, known)


def _of_keywords(text: str, known: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    place, last = 0, ""
    while text[place:].strip():
        pair = _PAIR.match(text, place)
        if pair is None or (pair[1] not in known and last == "password"):
            raise SettingError(
                f"{SETTING} is not of the form host=… dbname=… user=… password=…",
                hint="Put a value with blanks or quotes into '…', with \\' and \\\\ for ' and \\ in it.",
            )
        if pair[1] not in known:
            raise unknown(pair[1], known)
        last = pair[1]
        value = pair[2][1:-1] if pair[2].startswith("'") else pair[2]
        found[last] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        place = pair.end()
    return found


def _of_url(text: str, known: Collection[str]) -> dict[str, str]:
    scheme, _, rest = text.partition("://")
    _check_scheme(scheme)
    if re.search(r"[\s#\0]", rest) or _BAD_ESCAPE.search(rest):
        raise not_clear()
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    userinfo, at, hosts = authority.rpartition("@")
    cut_short = "@" in query and ":" in authority and not (at or path)
    if cut_short or re.search(r"[@\[\]]", userinfo) or "@" in path:
        raise not_clear()
    named = _named(query, frozenset() if at else _MAY_HOLD_AT, known)
    user, _, password = userinfo.partition(":")
    from_front = {**_hosts(hosts), "user": user, "password": password, "dbname": path}
    return {k: unquote(v) for k, v in (from_front | named).items() if v}


def _check_scheme(scheme: str) -> None:
    base = scheme.partition("+")[0]
    if base in {"postgresql", "postgres"}:
        return
    if scheme in _OTHER_SCHEMES:
        raise SettingError(
            f"{SETTING}: {scheme}:// is not understood. {_OTHER_SCHEMES[scheme]}",
            hint=f"Write {FORM}",
        )
    raise not_clear()


def _named(query: str, may_hold_at: Collection[str], known: Collection[str]) -> dict[str, str]:
    """An @ elsewhere is that of a password which reached so far: then no name is one, to be shown."""
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    for name, equals, value in pairs:
        at = "@" in name or ("@" in value and name not in may_hold_at)
        if at or not equals or not _NAME.fullmatch(name):
            raise not_clear()
    for name, _, _ in pairs:
        if name not in known:
            raise unknown(name, known)
    return {"dbname" if name == "database" else name: value for name, _, value in pairs}


def _hosts(text: str) -> dict[str, str]:
    """Hosts and their ports, as lists of one length; an IPv6 address stands in brackets."""
    if not text:
        return {}
    found = [_host(part) for part in text.split(",")]
    ports = ",".join(port for _, port in found)
    return {"host": ",".join(host for host, _ in found), "port": ports if ports.strip(",") else ""}


def _host(text: str) -> tuple[str, str]:
    bracketed = re.fullmatch(r"\[([\da-fA-F:.]+(?:%25\w+)?)\](?::(\d*))?", text)
    if bracketed:
        return bracketed[1], bracketed[2] or ""
    host, _, port = text.partition(":")
    return host, port


def checked_hosts(hosts: str, ports: str) -> tuple[list[str], list[int]]:
    """Both lists, of one length: one port may stand for all hosts. Raises SettingError.

    Only what can be a host is one: anything else may be a piece of a password, not to be looked up.
    """
    names, numbers = hosts.split(","), ports.split(",")
    if len(numbers) == 1:
        numbers *= len(names)
    if len(numbers) != len(names):
        raise SettingError(f"{SETTING}: {len(numbers)} ports do not fit {len(names)} hosts")
    if not all(_HOST.fullmatch(name) for name in names if name):
        raise not_clear()
    if not all(_PORT.fullmatch(n) and int(n or 5432) in range(1, 65_536) for n in numbers):
        raise not_clear()
    return names, [int(number or 5432) for number in numbers]


def unknown(name: str, known: Collection[str]) -> SettingError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    suggestion = f"; did you mean {near[0]}?" if near else ""
    other = f"Remove it. A setting of the server is written options=-c%20{name}%3DVALUE."
    return SettingError(
        f"{SETTING}: unknown parameter {name}{suggestion}", hint="" if near else other
    )


def not_clear() -> SettingError:
    return SettingError(
        f"{SETTING} is not a Postgres address",
        hint=f"Write {FORM}. If the password holds # / ? @ % [ ] or a blank, percent-encode it: "
        "%23 %2F %3F %40 %25 %5B %5D %20.",
    )
