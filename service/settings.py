"""Settings: flag before environment before secret file before TOML before default."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from service.domain.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PREFIX = "REFUND_SYNC_"
PLAIN = ("STRIPE_API_KEY", "DATABASE_URL")
"""Names that others know too, and that have no prefix of ours."""
SECRETS = (*PLAIN, "REFUND_SYNC_WEBHOOK_SECRETS")
TOML_PLACES = ("refund-sync.toml", "/etc/refund-sync/config.toml")
STRIPE = "https://api.stripe.com"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
LIVE_RATE, TEST_RATE = 100.0, 25.0
_KUBERNETES = re.compile(r"REFUND_SYNC_(.+_)?(SERVICE_HOST|SERVICE_PORT.*|PORT.*)")
_SIGNING = re.compile(r"whsec_[!-~]+")
_KEY = re.compile(r"(rk|sk)_(live|test)_[A-Za-z0-9_]+")
SHORTEST_SECRET = 4  # taking shorter ones out of messages would leave none that can be read


@dataclass(frozen=True, slots=True)
class StripeKey:
    """A key that looks like one; its text appears in no repr."""

    secret: SecretStr
    livemode: bool
    kind: Literal["restricted", "secret"]


class Settings(BaseModel):
    """Everything that can be set. Secrets never show."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    stripe_api_key: SecretStr | None = Field(
        default=None, description="a restricted key, rk_live_… or rk_test_…"
    )
    database_url: SecretStr | None = Field(
        default=None, description="any DSN that asyncpg takes; unset: embedded"
    )
    webhook_secrets: SecretStr | None = Field(
        default=None, description="whsec_…, several separated by commas or spaces"
    )
    stripe_api_base: str = Field(default=STRIPE, description="where Stripe is")
    data_dir: Path | None = Field(default=None, description="where the embedded Postgres lives")
    since: datetime = Field(
        default=datetime(2011, 1, 1, tzinfo=UTC), description="a date or an instant"
    )
    account_id: str | None = Field(
        default=None, pattern=r"^acct_\w+$", description="acct_…, the key's own account"
    )
    hydrate: Literal["expand", "retrieve", "parts"] = Field(
        default="expand", description="expand, retrieve or parts"
    )
    concurrency: int = Field(default=24, ge=1, le=256, description="a whole number from 1 to 256")
    endpoint_rate: float = Field(
        default=25.0, gt=0, le=1e6, description="requests a second, above 0"
    )
    global_rate: float | None = Field(
        default=None, gt=0, le=1e6, description="requests a second, above 0"
    )
    settle_lag_s: int = Field(default=600, ge=0, le=86_400, description="seconds, 0 to 86400")
    sync_interval_s: int = Field(default=60, ge=1, le=86_400, description="seconds, 1 to 86400")
    deadline_s: float = Field(default=600.0, gt=0, le=86_400, description="seconds, above 0")
    drain_s: float = Field(default=25.0, ge=0, le=600, description="seconds, 0 to 600")
    metadata: str = Field(
        default="keep", description="keep, drop, or the keys to keep, comma-separated"
    )
    read_allowance: int | None = Field(default=None, gt=0, description="reads in 30 days, above 0")
    read_share: float = Field(
        default=0.5, gt=0, le=1, description="a share of the allowance, above 0 to 1"
    )
    lease_s: float = Field(default=30.0, ge=1, le=3_600, description="seconds, 1 to 3600")
    http: str = Field(default="127.0.0.1:8321", pattern=r"^.+:\d{1,5}$", description="host:port")
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto, console or json"
    )
    allow_api_base: bool = False
    origins: dict[str, str] = {}

    @field_validator("since", mode="before")
    @classmethod
    def _in_utc(cls, value: object) -> datetime:
        """ISO 8601, UTC unless it says otherwise: a bare 2025 is no second of 1970."""
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    @field_validator("http")
    @classmethod
    def _has_a_port(cls, value: str) -> str:
        if int(value.rpartition(":")[2]) > 65_535:
            raise ValueError("no such port")
        return value

    @field_validator("webhook_secrets")
    @classmethod
    def _are_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        """What is none would leave every delivery refused."""
        found = _listed(value)
        if value is not None and not (found and all(map(_SIGNING.fullmatch, found))):
            raise ValueError("not secrets of webhooks")
        return value

    @property
    def signing_secrets(self) -> list[str]:
        """Any of which may have signed a webhook; none: no webhook is expected."""
        return _listed(self.webhook_secrets)

    @property
    def since_s(self) -> int:
        return int(self.since.timestamp())

    @property
    def rate_of_all(self) -> float:
        """Requests a second over all endpoints: as set, else Stripe's for the mode of the key."""
        if self.global_rate is not None:
            return self.global_rate
        key = self.stripe_api_key
        live = key is not None and "_live_" in key.get_secret_value()[:8]
        return LIVE_RATE if live else TEST_RATE

    def require_key(self) -> StripeKey:
        """Raises SettingError where there is none, or it is none."""
        if self.stripe_api_key is None:
            raise SettingError(
                "no Stripe key is set",
                hint="Set STRIPE_API_KEY, or STRIPE_API_KEY_FILE, to a restricted key (rk_…)."
                " Without one, `refund-sync demo` shows what it does.",
            )
        found = _KEY.fullmatch(self.stripe_api_key.get_secret_value())
        if found is None:
            raise SettingError(
                "STRIPE_API_KEY does not look like a Stripe key",
                hint="It begins with rk_live_ or rk_test_, and has letters and digits after that.",
            )
        kind: Literal["restricted", "secret"] = "restricted" if found[1] == "rk" else "secret"
        return StripeKey(self.stripe_api_key, found[2] == "live", kind)

    def secrets(self) -> list[str]:
        """What must never be shown: keys, and the password of the database in every spelling."""
        key = self.stripe_api_key.get_secret_value() if self.stripe_api_key else ""
        parts = _split(self.database_url.get_secret_value() if self.database_url else "")
        passwords = [
            parts.netloc.rpartition("@")[0].partition(":")[2],
            *parse_qs(parts.query).get("password", ()),
        ]
        found = {key, *self.signing_secrets, *passwords, *map(unquote, passwords)}
        return [s for s in found if len(s) >= SHORTEST_SECRET]


SETTABLE = tuple(n for n in Settings.model_fields if n not in {"allow_api_base", "origins"})


def variable_of(name: str) -> str:
    return name.upper() if name.upper() in PLAIN else PREFIX + name.upper()


def _listed(value: SecretStr | None) -> list[str]:
    return value.get_secret_value().replace(",", " ").split() if value else []


@dataclass(frozen=True, slots=True)
class Given:
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
    given: dict[str, Given] = {}
    for found in (
        *_from_toml(config), *_from_secret_files(environ), *_from_environment(environ),
        *(Given(name, value, "flag") for name, value in (flags or {}).items() if value is not None),
    ):  # fmt: skip
        given[found.name] = found
    try:
        settings = Settings.model_validate(
            {g.name: g.value for g in given.values()}
            | {"origins": {g.name: g.origin for g in given.values()}}
        )
    except ValidationError as error:
        raise SettingError(_told(error, given)) from None
    _check_base(settings)
    return settings


def _told(error: ValidationError, given: Mapping[str, Given]) -> str:
    """Each bad setting by name, origin and what is expected; never the value of a secret."""
    bad = {str(problem["loc"][0]): problem for problem in error.errors(include_input=False)}
    lines = [
        f"{variable_of(name)} ({given[name].origin if name in given else 'default'}) is not"
        f" {Settings.model_fields[name].description or 'understood'}"
        for name in bad
    ]
    return "; ".join(lines)


def _from_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    for name in SETTABLE:
        if value := environ.get(variable_of(name), "").strip():
            yield Given(name, value, "environment")


def _from_secret_files(environ: Mapping[str, str]) -> Iterator[Given]:
    """``X_FILE``, else systemd's credential of that name."""
    for variable in SECRETS:
        named = environ.get(f"{variable}_FILE")
        if named and environ.get(variable):
            raise SettingError(f"{variable} and {variable}_FILE are both set", hint="Keep one.")
        if named:
            yield Given(_name_of(variable), _secret_in(Path(named), variable), named)
        elif credential := _credential(environ, variable):
            yield Given(_name_of(variable), _secret_in(credential, variable), "systemd credential")


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


def _from_toml(config: Path | None) -> Iterator[Given]:
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
            raise _unknown(name, SETTABLE, f"{path}: ")
        joined = ",".join(map(str, value)) if isinstance(value, list) else value
        yield Given(name, joined, str(path))


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


def _unknown(name: str, known: Sequence[str], where: str = "") -> SettingError:
    """Names the nearest that is known: what all of them begin with says nothing of nearness."""
    by_rest = {k.removeprefix(PREFIX).lower(): k for k in known}
    near = difflib.get_close_matches(name.removeprefix(PREFIX).lower(), by_rest, n=1, cutoff=0.5)
    suggestion = f"; did you mean {by_rest[near[0]]}?" if near else ""
    hint = "" if near else f"There are: {', '.join(known)}."
    return SettingError(f"{where}unknown setting {name}{suggestion}", hint=hint)


def _check_base(settings: Settings) -> None:
    """A key must not go to a wrong address by a slip of the keyboard."""
    base = _split(settings.stripe_api_base)
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


def _split(url: str) -> SplitResult:
    """Its parts; none where it is no URL, which whoever opens it will say."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
