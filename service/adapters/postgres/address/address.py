"""Where a database is and how to talk to it, as a connection string, a service and the environment say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from service.adapters.postgres.address.dsn import SETTING, checked_hosts, parse
from service.adapters.postgres.address.parameters import (
    ASKS_FOR_TLS,
    CHOICES,
    KNOWN,
    LIBPQ,
    NUMBERS,
    ORM_RULES,
    RULES,
    SSL,
    SSLMODES,
    TLS_VERSIONS,
    WITHOUT_STATEMENTS,
)
from service.domain.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeAlias

    from service.adapters.postgres.address.parameters import Rule

    Services: TypeAlias = Callable[[str, str | None], Mapping[str, str]]

_ON_THE_WAY = ("channel_binding", "require_auth")
SYSTEM = "system"
_USUAL = "/run/postgresql,/var/run/postgresql,/tmp,/private/tmp,localhost"


@dataclass(frozen=True, slots=True)
class RawSettings:
    """A value, and where it was read: the connection string, a variable, or a service."""

    value: str = field(repr=False)
    where: str = SETTING

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Host:
    """One server to try: *name* is what its certificate must say, *address* what is connected to."""

    name: str
    address: str
    port: int

    @property
    def is_socket(self) -> bool:
        return self.address.startswith(("/", "@"))


@dataclass(frozen=True, slots=True)
class Address:
    """libpq's parameters with nothing left to look up; *notes* are lines for ``doctor``.

    *without_statements*: a pooler in transaction mode is said to stand before Postgres.
    """

    values: Mapping[str, RawSettings]
    hosts: tuple[Host, ...]
    notes: tuple[str, ...]
    without_statements: bool

    def get(self, name: str, default: str = "") -> str:
        given = self.values.get(name)
        return given.value if given else default

    @property
    def binds_by_certificate(self) -> bool:
        """The driver cannot bind a password to the TLS channel; a verified certificate does that as well."""
        return self.get("channel_binding") == "require"

    @property
    def sslmode(self) -> str:
        """As given; never less than what other parameters are there for."""
        if self.binds_by_certificate or self.get("sslrootcert") == SYSTEM:
            return "verify-full"
        return self.get("sslmode") or "prefer"

    @property
    def needs_tls(self) -> bool:
        return SSLMODES.index(self.sslmode) >= SSLMODES.index("require")

    @property
    def is_local(self) -> bool:
        return all(host.is_socket for host in self.hosts)

    def for_libpq(self) -> dict[str, str]:
        """The same as environment variables: on a command line a password shows in the process list."""
        return {LIBPQ[name]: given.value for name, given in self.values.items() if LIBPQ[name]}


def address_of(text: str, environ: Mapping[str, str], services: Services) -> Address:
    """What *text* says, else the service that it names, else libpq's variables in *environ*.

    *services* takes a service's name and the file that is to hold it. Raises SettingError, which names
    the parameter and what to write, and never its value.
    """
    given = parse(text, KNOWN)
    values = _defaults(_without_orms(given), environ, services)
    hosts = _hosts(values)
    values, spared = _spared(values, hosts)
    notes = (*_orm_notes(given), *spared, *_notes(values, RULES))
    _check(values)
    address = Address(values, hosts, notes, _without_statements(given))
    _check_together(address)
    return replace(address, notes=(*notes, *_otherwise(address)))


def _without_orms(given: Mapping[str, str]) -> dict[str, RawSettings]:
    values = {name: RawSettings(value) for name, value in given.items() if name in LIBPQ and value}
    if (ssl := given.get("ssl")) is None:
        return values
    if (mode := SSL.get(ssl.lower())) is None:
        raise SettingError(f"{SETTING}: ssl is not understood", hint="Write sslmode=… instead.")
    stated = values.setdefault("sslmode", RawSettings(mode)).value
    if stated in SSLMODES and SSLMODES.index(stated) < SSLMODES.index(mode):
        raise SettingError(
            f"{SETTING}: ssl asks for more than sslmode", hint="Keep sslmode=… alone."
        )
    return values


def _without_statements(given: Mapping[str, str]) -> bool:
    return any(given.get(name, "").lower() in off for name, off in WITHOUT_STATEMENTS.items())


def _orm_notes(given: Mapping[str, str]) -> Iterator[str]:
    values = {
        name: RawSettings(value)
        for name, value in given.items()
        if value.lower() not in WITHOUT_STATEMENTS.get(name, ())
    }
    yield from _notes(values, ORM_RULES)
    if given.get("ssl", "").lower() in ASKS_FOR_TLS and "sslmode" not in given:
        yield f"{SETTING}: ssl is read as sslmode=require, as libpq does: no certificate is verified"


def _defaults(
    given: dict[str, RawSettings], environ: Mapping[str, str], services: Services
) -> dict[str, RawSettings]:
    """With what *given* leaves out: from the service, else from the environment."""
    variables = {
        name: RawSettings(environ[variable], variable)
        for name, variable in LIBPQ.items()
        if variable and environ.get(variable)
    }
    service, file = (given.get(name) or variables.get(name) for name in ("service", "servicefile"))
    where = f"service {service}"
    held = services(service.value, file.value if file else None) if service else {}
    values = variables | {name: RawSettings(value, where) for name, value in held.items()} | given
    if "host" in given and "hostaddr" not in given:
        values.pop("hostaddr", None)  # it is another host's
    if str(values.get("requiressl", "")) == "1":
        values.setdefault("sslmode", RawSettings("require", values["requiressl"].where))
    return {k: v for k, v in values.items() if k not in {"service", "servicefile", "requiressl"}}


def _hosts(values: Mapping[str, RawSettings]) -> tuple[Host, ...]:
    """Those that are named, else the usual places."""
    names, addresses = (str(values.get(name, "")) for name in ("host", "hostaddr"))
    names = names or addresses or _USUAL
    found, ports = checked_hosts(names, str(values.get("port", "")))
    there, _ = checked_hosts(addresses or names, "")
    if len(there) != len(found):
        raise SettingError(f"{SETTING}: host and hostaddr do not name equally many")
    return tuple(map(Host, found, [t or f for t, f in zip(there, found, strict=True)], ports))


def _spared(
    values: dict[str, RawSettings], hosts: tuple[Host, ...]
) -> tuple[dict[str, RawSettings], list[str]]:
    """Without what makes no sense for these hosts, and a line for what is no wish of the string itself.

    Variables speak of all connections; nobody stands between us and a socket of this machine.
    """
    if not all(host.is_socket for host in hosts):
        return {k: v for k, v in values.items() if k != "requirepeer"}, []
    gone = {k: v for k, v in values.items() if k in _ON_THE_WAY and v.where == LIBPQ[k]}
    kept = {k: v for k, v in values.items() if k not in gone}
    return kept, [f"{given.where} is not applied to a Unix socket" for given in gone.values()]


def _notes(values: Mapping[str, RawSettings], rules: Mapping[str, Rule]) -> Iterator[str]:
    """A line for each that is ignored. Raises SettingError for one that must not be."""
    for name, given in values.items():
        rule = rules.get(name)
        if rule is None or given.value in rule.fine:
            continue
        named = f"{given.where}: {name}" if given.where == SETTING else f"{name} ({given.where})"
        if rule.instead:
            raise SettingError(
                f"{named} cannot be honoured: {rule.why}", hint=f"Write {rule.instead}."
            )
        yield f"{named} is ignored: {rule.why}"


def _check(values: Mapping[str, RawSettings]) -> None:
    for name, given in values.items():
        allowed = CHOICES.get(name)
        if allowed and given.value not in allowed:
            raise _wrong(name, given, f"one of {', '.join(allowed)}")
        if name in NUMBERS and not _is_number(given.value):
            raise _wrong(name, given, "a whole number")


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and len(text) < 10


def _wrong(name: str, given: RawSettings, expected: str) -> SettingError:
    return SettingError(f"{given.where}: {name} is not {expected}")


def _otherwise(address: Address) -> Iterator[str]:
    """What is done in another way than it says, and what has no effect next to the rest."""
    if address.binds_by_certificate:
        yield f"{SETTING}: channel_binding=require is met by verifying the certificate (verify-full)"
    for name in ("sslrootcert", "sslcrl", "sslcrldir"):
        if address.get(name) and not address.needs_tls:
            yield (
                f"{SETTING}: {name} is ignored: sslmode={address.sslmode} goes on without TLS;"
                " write sslmode=verify-full"
            )


def _check_together(address: Address) -> None:
    given = address.get
    mode = given("sslmode")
    if mode not in {"", "verify-full"} and given("sslrootcert") == SYSTEM:
        raise SettingError(
            f"{SETTING}: sslmode={mode} is too weak for sslrootcert=system",
            hint="Write sslmode=verify-full: anybody can have a certificate of a public authority.",
        )
    if address.binds_by_certificate and (mode == "disable" or address.is_local):
        raise SettingError(
            f"{SETTING}: channel_binding=require needs TLS",
            hint="Remove it, or connect by TCP with sslmode=verify-full.",
        )
    if given("sslnegotiation") == "direct" and not address.needs_tls:
        raise SettingError(f"{SETTING}: sslnegotiation=direct needs sslmode=require or more")
    least, most = (given(f"ssl_{end}_protocol_version") for end in ("min", "max"))
    if least and most and TLS_VERSIONS.index(least) > TLS_VERSIONS.index(most):
        raise SettingError(f"{SETTING}: ssl_min_protocol_version is above ssl_max_protocol_version")
    if given("requirepeer"):
        raise SettingError(
            f"{SETTING}: requirepeer cannot be honoured: the driver does not see who serves a socket",
            hint="Remove it, and name a folder in host=… that only that user may write to.",
        )
