"""The values: what can be set, what it may be, and what follows from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from service.domain.errors import SettingError
from service.settings.metadata import MetadataChoice, metadata_choice
from service.settings.network import Network

PREFIX = "REFUND_SYNC_"
STRIPE_KEY = "STRIPE_API_KEY"
PLAIN = (STRIPE_KEY, "DATABASE_URL")
"""Names that others know too, and that have no prefix of ours."""
SECRETS = (*PLAIN, "REFUND_SYNC_WEBHOOK_SECRETS")
STRIPE = "https://api.stripe.com"
LIVE_RATE, TEST_RATE = 100.0, 25.0
_SIGNING = re.compile(r"whsec_[!-~]+")
_KEY = re.compile(r"(rk|sk)_(live|test)_[A-Za-z0-9_]+")
_IN_FRONT = re.compile(r"://[^:@/]*:(.+)@")
_NAMED = re.compile(r"(?:password|secret|_key)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&]+)")
"""Passwords in an address, however it is written: up to the last @, in case one was not encoded."""
CREDENTIAL = "systemd credential"
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
        default=None, description="a Postgres address, or libpq's keywords; unset: embedded"
    )
    webhook_secrets: SecretStr | None = Field(
        default=None, description="whsec_…, several separated by commas or spaces"
    )
    stripe_api_base: str = Field(default=STRIPE, description="where Stripe is")
    data_dir: Path | None = Field(default=None, description="where the embedded Postgres lives")
    since: datetime = Field(
        default=datetime(2011, 1, 1, tzinfo=UTC),
        description="a date or an instant, 1970 or later (Stripe has nothing before 2011)",
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
        default="keep",
        description="keep, drop, or the keys to keep, comma-separated; unmasked:KEY next to them exempts a key"
        " that is kept from the masking of card numbers",
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
    network: Network = Network()
    origins: dict[str, str] = {}

    @field_validator("since", mode="before")
    @classmethod
    def _in_utc(cls, value: object) -> datetime:
        """ISO 8601, UTC unless it says otherwise: a bare 2025 is no second of 1970."""
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if moment.timestamp() < 0:
            raise ValueError("before Stripe counts seconds")
        return moment

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

    @field_validator("metadata")
    @classmethod
    def _is_a_choice(cls, value: str) -> str:
        metadata_choice(value)
        return value

    @property
    def metadata_choice(self) -> MetadataChoice:
        return metadata_choice(self.metadata)

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
        text = self.stripe_api_key.get_secret_value()
        if text.startswith("sk_org_"):
            raise SettingError(
                "STRIPE_API_KEY is the key of an organisation: it may read all of its accounts, and does not"
                " say which; refund-sync works for one account",
                hint="Make a restricted key (rk_live_…) in that account, and run one refund-sync for each.",
            )
        found = _KEY.fullmatch(text)
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
        url = self.database_url.get_secret_value() if self.database_url else ""
        passwords = [*_IN_FRONT.findall(url), *(value.strip("'") for value in _NAMED.findall(url))]
        unescaped = [re.sub(r"\\(.)", r"\1", password) for password in passwords]
        found = {
            key, *self.signing_secrets, *passwords, *unescaped, *map(unquote, passwords),
            *self.network.secrets(),
        }  # fmt: skip
        return [s for s in found if len(s) >= SHORTEST_SECRET]

    def as_given(self, text: str) -> str:
        """*text* with each secret setting called as it was given: by its file, or its credential."""
        for variable in SECRETS:
            origin = self.origins.get(variable.removeprefix(PREFIX).lower(), "")
            if origin not in {"", "environment", "flag"}:
                name = variable if origin == CREDENTIAL else f"{variable}_FILE"
                named = f"{name} ({origin})".replace("\\", r"\\")
                text = re.sub(rf"\b{variable}\b", named, text)
        return text


SETTABLE = tuple(
    n for n in Settings.model_fields if n not in {"allow_api_base", "network", "origins"}
)


def variable_of(name: str) -> str:
    return name.upper() if name.upper() in PLAIN else PREFIX + name.upper()


def _listed(value: SecretStr | None) -> list[str]:
    return value.get_secret_value().replace(",", " ").split() if value else []


def split_url(url: str) -> SplitResult:
    """Its parts; none where it is no URL, which opening it will report."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
