"""Keys, addresses and secrets: which are taken, and that none shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.domain.errors import SettingError
from service.settings import (
    load_settings,
    with_key_as_it_is_now,
)
from tests.unit.settings.test_settings import KEY, a_file, refusal

if TYPE_CHECKING:
    from pathlib import Path


PASSWORD = "hunter%402"  # as in a URL; the server knows it as hunter@2


DSN = f"postgresql://finance:{PASSWORD}@db.internal:5432/refunds"


@pytest.mark.parametrize("base", ["https://api.stripe.com", "https://api.stripe.com/"])
def test_stripe_itself_may_be_asked(base: str) -> None:
    assert load_settings({"REFUND_SYNC_STRIPE_API_BASE": base}).stripe_api_base == base


@pytest.mark.parametrize("base", ["http://localhost:1", "http://127.0.0.1:8", "http://[::1]:8"])
def test_this_machine_may_be_asked(base: str) -> None:
    assert load_settings({"REFUND_SYNC_STRIPE_API_BASE": base}).stripe_api_base == base


@pytest.mark.parametrize(
    "base",
    [
        "https://api.strip.com", "http://api.stripe.com", "https://api.stripe.com.evil.example",
        "https://api.stripe.com@evil.example", "https://x@127.0.0.1", "http://127.0.0.1.evil.example",
        "http://[bad", "ftp://localhost", "localhost:8080", "https://api.stripe.com/v1",
    ],
)  # fmt: skip
def test_an_address_elsewhere_gets_the_key_only_where_that_is_said(base: str) -> None:
    environ = {"REFUND_SYNC_STRIPE_API_BASE": base}
    error = refusal(environ)
    assert "REFUND_SYNC_STRIPE_API_BASE" in str(error)
    assert "--allow-api-base" in error.hint


def test_an_address_elsewhere_is_taken_with_allow_api_base() -> None:
    environ = {"REFUND_SYNC_STRIPE_API_BASE": "https://proxy.internal/stripe"}
    settings = load_settings(environ, flags={"allow_api_base": True})
    assert settings.stripe_api_base == "https://proxy.internal/stripe"


@pytest.mark.parametrize(
    ("key", "livemode", "kind", "rate"),
    [
        ("rk_test_1", False, "restricted", 25),
        ("rk_live_1", True, "restricted", 100),
        ("sk_test_1", False, "secret", 25),
        ("sk_live_1", True, "secret", 100),
    ],
)
def test_a_key_says_its_mode_and_kind_and_the_mode_the_rate(
    key: str, livemode: bool, kind: str, rate: float
) -> None:
    settings = load_settings({"STRIPE_API_KEY": key})
    found = settings.require_key()
    assert (found.livemode, found.kind, settings.rate_of_all) == (livemode, kind, rate)


def test_a_rate_that_is_set_holds_in_either_mode() -> None:
    environ = {"STRIPE_API_KEY": "rk_live_1", "REFUND_SYNC_GLOBAL_RATE": "7"}
    assert load_settings(environ).rate_of_all == 7


@pytest.mark.parametrize("key", ["pk_live_123", "rk_test_!", "rk_test_…", "rk_test_a b", "secret"])
def test_what_is_no_key_is_refused_when_it_is_needed_and_not_shown(key: str) -> None:
    settings = load_settings({"STRIPE_API_KEY": key})
    with pytest.raises(SettingError, match="does not look like") as caught:
        settings.require_key()
    assert key not in f"{caught.value} {caught.value.hint}"


def test_no_key_is_an_error_only_where_one_is_needed() -> None:
    with pytest.raises(SettingError, match="no Stripe key") as caught:
        load_settings({}).require_key()
    assert "refund-sync demo" in caught.value.hint


def test_secrets_are_in_no_repr() -> None:
    settings = load_settings({"STRIPE_API_KEY": KEY, "DATABASE_URL": DSN})
    shown = f"{settings!r} {settings} {settings.require_key()!r} {settings.model_dump_json()}"
    assert "db.internal" not in shown
    for secret in (KEY, "TAIL", PASSWORD):
        assert secret not in shown


def test_a_bad_setting_next_to_secrets_shows_none_of_them() -> None:
    environ = {"STRIPE_API_KEY": KEY, "DATABASE_URL": DSN, "REFUND_SYNC_DRAIN_S": KEY}
    error = refusal(environ)
    assert "REFUND_SYNC_DRAIN_S" in str(error)
    assert error.__cause__ is None
    for secret in (KEY, PASSWORD):
        assert secret not in f"{error} {error.hint}"


@pytest.mark.parametrize(
    "dsn",
    [
        DSN,
        f"postgresql:///refunds?host=/run&user=finance&password={PASSWORD}",
        f"postgresql://finance:{PASSWORD}@one:5432,two:5432/refunds",
    ],
)
def test_the_password_is_known_as_a_secret_in_each_of_its_spellings(dsn: str) -> None:
    secrets = load_settings({"STRIPE_API_KEY": KEY, "DATABASE_URL": dsn}).secrets()
    assert {KEY, "hunter@2"} <= set(secrets)
    assert not {"finance", "refunds"} & set(secrets)


def test_webhooks_have_several_secrets_while_they_are_rotated(tmp_path: Path) -> None:
    assert load_settings({}).signing_secrets == []
    reported = "whsec_new, whsec_old,whsec_third\nwhsec_last\n"
    several = ["whsec_new", "whsec_old", "whsec_third", "whsec_last"]
    assert load_settings({"REFUND_SYNC_WEBHOOK_SECRETS": reported}).signing_secrets == several
    path = a_file(tmp_path, reported, "REFUND_SYNC_WEBHOOK_SECRETS")
    for environ in (
        {"REFUND_SYNC_WEBHOOK_SECRETS_FILE": str(path)},
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    ):
        assert load_settings(environ).signing_secrets == several


@pytest.mark.parametrize(
    "reported", [",", "whsec_", "whsec_good sk_test_SECRET", "whsec_schlüssel"]
)
def test_what_is_no_secret_of_a_webhook_is_refused_and_not_shown(reported: str) -> None:
    error = refusal({"REFUND_SYNC_WEBHOOK_SECRETS": reported})
    assert str(error) == (
        "REFUND_SYNC_WEBHOOK_SECRETS (environment) is not"
        " whsec_…, several separated by commas or spaces"
    )


def test_secrets_of_webhooks_are_known_as_secrets_each_by_itself_and_are_in_no_repr(
    tmp_path: Path,
) -> None:
    settings = load_settings({"REFUND_SYNC_WEBHOOK_SECRETS": "whsec_new whsec_old"})
    assert {"whsec_new", "whsec_old"} <= set(settings.secrets())
    assert "whsec_" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    error = refusal({}, a_file(tmp_path, "webhook_secrets = 'whsec_new'\n"))
    assert "webhook_secrets does not belong here" in str(error)
    assert "REFUND_SYNC_WEBHOOK_SECRETS_FILE" in error.hint
    assert "whsec_" not in f"{error} {error.hint}"


@pytest.mark.parametrize("credential", [False, True])
def test_a_key_that_was_replaced_in_its_file_is_read_again_and_all_else_stays(
    tmp_path: Path, credential: bool
) -> None:
    file = a_file(tmp_path, KEY, "STRIPE_API_KEY")
    source = (
        {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        if credential
        else {"STRIPE_API_KEY_FILE": str(file)}
    )
    environ = source | {"DATABASE_URL": DSN}
    before = load_settings(environ)
    file.write_text("rk_test_rotatedSECRET0000TAIL\n")
    now = with_key_as_it_is_now(before, environ)
    assert now.require_key().secret.get_secret_value() == "rk_test_rotatedSECRET0000TAIL"
    assert now.model_copy(update={"stripe_api_key": before.stripe_api_key}) == before
    file.unlink()
    with pytest.raises(SettingError, match="STRIPE_API_KEY"):
        with_key_as_it_is_now(before, {"STRIPE_API_KEY_FILE": str(file)})


def test_a_key_of_the_environment_stays_as_it_is(tmp_path: Path) -> None:
    environ = {"STRIPE_API_KEY": KEY, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    before = load_settings(environ)
    a_file(tmp_path, "rk_test_rotatedSECRET0000TAIL", "STRIPE_API_KEY")
    assert with_key_as_it_is_now(before, environ) is before


def test_the_password_of_an_address_that_cannot_be_parsed_is_a_secret_all_the_same() -> None:
    assert load_settings({"DATABASE_URL": "postgresql://u:secret@[bad/db"}).secrets() == ["secret"]


def test_a_secret_is_called_as_it_was_given(tmp_path: Path) -> None:
    text = "Check DATABASE_URL and STRIPE_API_KEY."
    file = tmp_path / "url"
    file.write_text("postgresql://u:secret@h/db")
    in_file = load_settings({"DATABASE_URL_FILE": str(file), "STRIPE_API_KEY": KEY})
    assert in_file.as_given(text) == f"Check DATABASE_URL_FILE ({file}) and STRIPE_API_KEY."
    file.rename(tmp_path / "DATABASE_URL")
    credential = load_settings({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert credential.as_given(text).startswith("Check DATABASE_URL (systemd credential) and")
    assert load_settings({}).as_given(text) == text
