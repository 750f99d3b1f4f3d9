"""Settings: what can be set (values), and where it comes from (sources)."""

from __future__ import annotations

from service.settings.sources import TOML_PLACES, load_settings, with_key_as_it_is_now
from service.settings.values import (
    LIVE_RATE,
    SECRETS,
    SETTABLE,
    TEST_RATE,
    Settings,
    StripeKey,
    variable_of,
)

__all__ = [
    "LIVE_RATE", "SECRETS", "SETTABLE", "TEST_RATE", "TOML_PLACES",
    "Settings", "StripeKey", "load_settings", "variable_of", "with_key_as_it_is_now",
]  # fmt: skip
