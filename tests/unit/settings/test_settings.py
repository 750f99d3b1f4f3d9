"""Settings: which of several values holds, what is refused, and that secrets never show."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import pytest

from service.domain.errors import SettingError
from service.settings import (
    Settings,
    load_settings,
)
from service.settings.metadata import MetadataChoice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = "rk_test_settingsSECRET0000TAIL"


def refusal(environ: Mapping[str, str], config: Path | None = None) -> SettingError:
    with pytest.raises(SettingError) as caught:
        load_settings(environ, config=config)
    assert caught.value.exit_code == 3
    return caught.value


def a_file(folder: Path, text: str, name: str = "given.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_unset_means_the_default_and_says_so() -> None:
    settings = load_settings({})
    assert settings == Settings()
    assert settings.since == datetime(2011, 1, 1, tzinfo=UTC)
    assert settings.stripe_api_base == "https://api.stripe.com"
    assert settings.origins == {}


def test_a_flag_comes_before_the_environment_before_toml_before_the_default(tmp_path: Path) -> None:
    config = a_file(tmp_path, "concurrency = 3\nsettle_lag_s = 30\nhydrate = 'parts'\n")
    environ = {"REFUND_SYNC_CONCURRENCY": "4", "REFUND_SYNC_HYDRATE": "retrieve"}
    settings = load_settings(environ, config=config, flags={"concurrency": 5, "since": None})
    assert (settings.concurrency, settings.hydrate, settings.settle_lag_s) == (5, "retrieve", 30)
    assert settings.drain_s == Settings().drain_s
    assert settings.origins == {
        "concurrency": "flag",
        "hydrate": "environment",
        "settle_lag_s": str(config),
    }


def test_a_secret_comes_from_a_file_without_the_newline_at_its_end(tmp_path: Path) -> None:
    path = a_file(tmp_path, f"{KEY}\n", "key")
    settings = load_settings({"STRIPE_API_KEY_FILE": str(path)})
    assert settings.require_key().secret.get_secret_value() == KEY
    assert settings.origins["stripe_api_key"] == str(path)


@pytest.mark.parametrize("name", ["STRIPE_API_KEY", "stripe_api_key"])
def test_a_secret_comes_from_a_systemd_credential_and_the_environment_comes_first(
    tmp_path: Path, name: str
) -> None:
    a_file(tmp_path, KEY, name)
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    settings = load_settings(credentials)
    assert settings.require_key().secret.get_secret_value() == KEY
    assert settings.origins["stripe_api_key"] == "systemd credential"
    settings = load_settings(credentials | {"STRIPE_API_KEY": "rk_live_other"})
    assert settings.require_key().livemode
    assert settings.origins["stripe_api_key"] == "environment"


def test_toml_is_found_in_the_working_directory_and_another_can_be_named(tmp_path: Path) -> None:
    a_file(tmp_path, "concurrency = 3\n", "refund-sync.toml")
    assert load_settings({}).concurrency == 3
    assert load_settings({}, config=a_file(tmp_path, "concurrency = 9\n")).concurrency == 9


def test_empty_variables_and_spaces_around_values_mean_nothing() -> None:
    settings = load_settings({"REFUND_SYNC_CONCURRENCY": " ", "STRIPE_API_KEY": f" {KEY}\n"})
    assert settings.concurrency == Settings().concurrency
    assert settings.require_key().secret.get_secret_value() == KEY


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_since_is_utc_unless_it_names_an_offset(
    tmp_path: Path, text: str, moment: datetime
) -> None:
    assert load_settings({"REFUND_SYNC_SINCE": text}).since == moment
    assert load_settings({}, config=a_file(tmp_path, f"since = '{text}'\n")).since == moment


def test_since_may_be_a_date_of_toml(tmp_path: Path) -> None:
    config = a_file(tmp_path, "since = 2026-01-31\n")
    assert load_settings({}, config=config).since == datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "kept", "unmasked"),
    [
        ("keep", "keep", set()),
        ("drop", "drop", set()),
        ("order_id, shop", frozenset({"order_id", "shop"}), set()),
        ("keep,unmasked:order_id", "keep", {"order_id"}),
        ("unmasked: order_id , keep, unmasked:sku", "keep", {"order_id", "sku"}),
        ("order_id,shop,unmasked:shop", frozenset({"order_id", "shop"}), {"shop"}),
    ],
)
def test_metadata_says_which_keys_are_kept_and_which_of_them_hold_ids(
    text: str, kept: Literal["keep", "drop"] | frozenset[str], unmasked: set[str]
) -> None:
    choice = load_settings({"REFUND_SYNC_METADATA": text}).metadata_choice
    assert choice == MetadataChoice(kept, frozenset(unmasked))


@pytest.mark.parametrize(
    "text",
    [
        "unmasked:order_id", "drop,unmasked:order_id", "keep,order_id", "drop,order_id", "keep,drop",
        "order_id,unmasked:shop", "keep,unmasked:", ",",
    ],
)  # fmt: skip
def test_a_choice_of_metadata_that_contradicts_itself_is_refused(text: str) -> None:
    said = str(refusal({"REFUND_SYNC_METADATA": text}))
    assert "REFUND_SYNC_METADATA (environment) is not keep, drop, or the keys to keep" in said
    assert "unmasked:KEY" in said


def test_metadata_keys_may_be_a_list_in_toml(tmp_path: Path) -> None:
    config = a_file(tmp_path, "metadata = ['order_id', 'shop']\n")
    assert load_settings({}, config=config).metadata == "order_id,shop"
