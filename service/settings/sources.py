"""The sources: flag before environment before secret file before TOML before default."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError

from service.domain.errors import SettingError
from service.settings.network import network_of
from service.settings.values import (
    CREDENTIAL,
    PREFIX,
    SECRETS,
    SETTABLE,
    STRIPE,
    STRIPE_KEY,
    Settings,
    split_url,
    variable_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TOML_PLACES = ("refund-sync.toml", "/etc/refund-sync/config.toml")
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_KUBERNETES = re.compile(r"REFUND_SYNC_(.+_)?(SERVICE_HOST|SERVICE_PORT.*|PORT.*)")


@dataclass(frozen=True, slots=True)
class RawSettings:
    """One value as given, and by what."""

    name: str
    value: Any
    origin: str


def load_settings(
    environ: Mapping[str, str],
    *,
    config: Path | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """All settings, each with its origin. Raises SettingError that names every one that is wrong."""
    _refuse_unknown(environ)
    given: dict[str, RawSettings] = {}
    for found in (
        *_from_toml(config), *_from_secret_files(environ), *_from_environment(environ),
        *(RawSettings(name, value, "flag") for name, value in (flags or {}).items() if value is not None),
    ):  # fmt: skip
        given[found.name] = found
    try:
        settings = Settings.model_validate(
            {g.name: g.value for g in given.values()}
            | {
                "origins": {g.name: g.origin for g in given.values()},
                "network": network_of(environ),
            }
        )
    except ValidationError as error:
        raise SettingError(_reported(error, given)) from None
    _check_base(settings)
    return settings


def _reported(error: ValidationError, given: Mapping[str, RawSettings]) -> str:
    """Each bad setting by name, origin and what is expected; never the value of a secret."""
    bad = {str(problem["loc"][0]): problem for problem in error.errors(include_input=False)}
    lines = [
        f"{variable_of(name)} ({given[name].origin if name in given else 'default'}) is not"
        f" {Settings.model_fields[name].description or 'understood'}"
        for name in bad
    ]
    return "; ".join(lines)


def _from_environment(environ: Mapping[str, str]) -> Iterator[RawSettings]:
    for name in SETTABLE:
        if value := environ.get(variable_of(name), "").strip():
            yield RawSettings(name, value, "environment")


def _from_secret_files(environ: Mapping[str, str]) -> Iterator[RawSettings]:
    """``X_FILE``, else systemd's credential of that name."""
    found = (_from_secret_file(environ, variable) for variable in SECRETS)
    yield from (given for given in found if given)


def _from_secret_file(environ: Mapping[str, str], variable: str) -> RawSettings | None:
    named = environ.get(f"{variable}_FILE")
    if named and environ.get(variable):
        raise SettingError(f"{variable} and {variable}_FILE are both set", hint="Keep one.")
    if named:
        return RawSettings(_name_of(variable), _secret_in(Path(named), variable), named)
    if credential := _credential(environ, variable):
        return RawSettings(_name_of(variable), _secret_in(credential, variable), CREDENTIAL)
    return None


def with_key_as_it_is_now(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The same settings with the Stripe key that its file or credential holds by now.

    A key that comes from the environment stays as it is. Raises SettingError if there is none to read.
    """
    if environ.get(STRIPE_KEY, "").strip():
        return settings
    given = _from_secret_file(environ, STRIPE_KEY)
    if given is None:
        return settings
    return settings.model_copy(update={"stripe_api_key": SecretStr(given.value)})


def _name_of(variable: str) -> str:
    return variable.removeprefix(PREFIX).lower()


def _credential(environ: Mapping[str, str], variable: str) -> Path | None:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    places = [Path(folder) / name for name in (variable, variable.lower())] if folder else []
    return next((place for place in places if _is_there(place)), None)


def _is_there(path: Path) -> bool:
    """Whether there is such a file. Raises SettingError where we may not look."""
    try:
        return path.is_file()
    except PermissionError:
        raise SettingError(f"{path} cannot be read: permission denied") from None


def _secret_in(path: Path, variable: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingError(f"{variable}_FILE: {path} cannot be read: {reason}") from None
    if not text:
        raise SettingError(f"{variable}_FILE: {path} is empty")
    return text


def _from_toml(config: Path | None) -> Iterator[RawSettings]:
    places = [config] if config else [Path(place) for place in TOML_PLACES]
    path = next((place for place in places if _is_there(place)), None)
    if path is None:
        if config:
            raise SettingError(f"the configuration file {config} is not there")
        return
    for name, value in _parsed(path).items():
        if (variable := variable_of(name)) in SECRETS:
            raise SettingError(
                f"{path}: {name} does not belong here",
                hint=f"Set {variable} in the environment, or {variable}_FILE to a file of its own.",
            )
        if name not in SETTABLE:
            public = [known for known in SETTABLE if variable_of(known) not in SECRETS]
            raise _unknown(name, SETTABLE, f"{path}: ", public)
        joined = ",".join(map(str, value)) if isinstance(value, list) else value
        yield RawSettings(name, joined, str(path))


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"{path} cannot be read as TOML: {error}") from None


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = [variable_of(name) for name in SETTABLE]
    accepted = {*known, *(f"{variable}_FILE" for variable in SECRETS)}
    for name in environ:
        if name.startswith(PREFIX) and name not in accepted and not _KUBERNETES.fullmatch(name):
            raise _unknown(name, known)


def _unknown(
    name: str, known: Sequence[str], where: str = "", accepted: Sequence[str] | None = None
) -> SettingError:
    """Names the nearest that is known: what all of them begin with says nothing of nearness.

    *accepted* is what may stand there, if that is less than what is known.
    """
    by_rest = {k.removeprefix(PREFIX).lower(): k for k in known}
    near = difflib.get_close_matches(name.removeprefix(PREFIX).lower(), by_rest, n=1, cutoff=0.5)
    suggestion = f"; did you mean {by_rest[near[0]]}?" if near else ""
    hint = "" if near else f"There are: {', '.join(accepted or known)}."
    return SettingError(f"{where}unknown setting {name}{suggestion}", hint=hint)


def _check_base(settings: Settings) -> None:
    """A key must not go to a wrong address by a slip of the keyboard."""
    base = split_url(settings.stripe_api_base)
    plain = not (base.path.strip("/") or base.query or base.username)
    if plain and settings.stripe_api_base.rstrip("/") == STRIPE:
        return
    if plain and base.scheme in {"http", "https"} and base.hostname in LOOPBACK:
        return
    if settings.allow_api_base and base.scheme in {"http", "https"} and base.hostname:
        return
    raise SettingError(
        f"REFUND_SYNC_STRIPE_API_BASE is neither {STRIPE} nor on this machine",
        hint="If it is meant, say so with --allow-api-base: the key will be sent there.",
    )
