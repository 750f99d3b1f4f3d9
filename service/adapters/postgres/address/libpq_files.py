"""The files that libpq reads: services, and passwords."""

from __future__ import annotations

import configparser
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from service.adapters.postgres.address.dsn import SETTING
from service.adapters.postgres.address.parameters import LIBPQ
from service.domain.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.adapters.postgres.address.address import Host

_ENTRY = re.compile(r"((?:[^:\\]|\\.)*):" * 4 + "(.*)")
SYSTEM_SERVICES = "/etc/postgresql-common/pg_service.conf"


def service_values(name: str, file: str | None = None) -> Mapping[str, str]:
    """The parameters of a service, from *file*, else the user's, else the system's."""
    system = os.environ.get("PGSYSCONFDIR")
    places = [
        Path(file) if file else home(".pg_service.conf"),
        Path(system, "pg_service.conf") if system else Path(SYSTEM_SERVICES),
    ]
    for place in places:
        read = configparser.RawConfigParser(
            delimiters=("=",), comment_prefixes=("#",), default_section="", strict=False
        )
        try:
            read.read(place, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            raise SettingError(f"{place} cannot be read as a file of services") from None
        if read.has_section(name):
            return _known(dict(read[name]), place)
    raise SettingError(
        f"{SETTING}: there is no service {name}", hint=f"Looked in {', '.join(map(str, places))}."
    )


def _known(values: Mapping[str, str], place: Path) -> Mapping[str, str]:
    for name in values:
        if name not in LIBPQ:
            raise SettingError(f"{place}: unknown parameter {name}")
    return values


def password_of(file: Path, host: Host, dbname: str, user: str) -> str | None:
    """The first password in *file* that fits; None where there is none, or others may read it as well."""
    wanted = ("localhost" if host.is_socket else host.name, str(host.port), dbname, user)
    for *fields, password in _entries(file):
        if all(field in {"*", value} for field, value in zip(fields, wanted, strict=True)):
            return password
    return None


def _entries(file: Path) -> Iterator[list[str]]:
    """Lines of host:port:database:user:password, in which a backslash quotes a colon or itself."""
    if problem_of(file):
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if (found := _ENTRY.fullmatch(line)) and not line.startswith("#"):
            yield [re.sub(r"\\(.)", r"\1", field) for field in found.groups()]


def problem_of(file: Path) -> str:
    """Why libpq would not read passwords from it, or nothing."""
    try:
        mode = file.stat().st_mode
        readable = os.access(file, os.R_OK)
    except OSError:
        return "is not there"
    if not stat.S_ISREG(mode) or not readable:
        return "cannot be read"
    return "is open to others (chmod 600)" if mode & (stat.S_IRWXG | stat.S_IRWXO) else ""


def home(name: str) -> Path:
    """A file of the user's, which need not be there."""
    return Path(os.environ.get("HOME") or "~").expanduser() / name
