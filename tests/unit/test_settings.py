"""Settings: which of several values holds, what is refused, and that secrets never show."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import pytest

from service.domain.errors import SettingError
from service.settings import (
    SETTABLE,
    Settings,
    load_settings,
    variable_of,
    with_key_as_it_is_now,
)
from service.settings.metadata import MetadataChoice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = "rk_test_settingsSECRET0000TAIL"
PASSWORD = "hunter%402"  # as in a URL; the server knows it as hunter@2
DSN = f"postgresql://finance:{PASSWORD}@db.internal:5432/refunds"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without anybody's refund-sync.toml."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("REFUND_SYNC_CONCURENCY", "REFUND_SYNC_CONCURRENCY"),
        ("REFUND_SYNC_INTERVAL", "REFUND_SYNC_SYNC_INTERVAL_S"),
        ("REFUND_SYNC_STRIPE_API_KEY", "STRIPE_API_KEY"),
        ("REFUND_SYNC_DATADIR", "REFUND_SYNC_DATA_DIR"),
    ],
)
def test_an_unknown_variable_is_refused_and_the_nearest_known_one_named(
    name: str, nearest: str
) -> None:
    assert (
        str(refusal({name: KEY})).removeprefix("unknown setting ")
        == f"{name}; did you mean {nearest}?"
    )


def test_a_variable_near_to_none_is_refused_with_all_there_are() -> None:
    error = refusal({"REFUND_SYNC_XYZZY": "1"})
    assert "XYZZY" in str(error)
    assert all(variable_of(name) in error.hint for name in SETTABLE)


def test_an_unknown_key_in_toml_is_refused_with_the_file_and_the_nearest(tmp_path: Path) -> None:
    config = a_file(tmp_path, "concurency = 3\n")
    assert str(refusal({}, config)) == (
        f"{config}: unknown setting concurency; did you mean concurrency?"
    )


def test_an_unknown_key_in_toml_near_to_none_is_told_those_that_may_stand_there(
    tmp_path: Path,
) -> None:
    hint = refusal({}, a_file(tmp_path, "xyzzy = 3\n")).hint
    secret = {"stripe_api_key", "database_url", "webhook_secrets"}
    assert all((name in hint) == (name not in secret) for name in SETTABLE)


@pytest.mark.parametrize(
    "name",
    [
        "REFUND_SYNC_SERVICE_HOST", "REFUND_SYNC_SERVICE_PORT", "REFUND_SYNC_SERVICE_PORT_HTTP",
        "REFUND_SYNC_PORT", "REFUND_SYNC_PORT_8321_TCP", "REFUND_SYNC_PORT_8321_TCP_ADDR",
        "REFUND_SYNC_DB_SERVICE_HOST", "REFUND_SYNC_DB_PORT",
    ],
)  # fmt: skip
def test_what_kubernetes_sets_for_services_of_our_name_is_left_aside(name: str) -> None:
    assert load_settings({name: "tcp://10.0.0.1:8321"}) == Settings()


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"REFUND_SYNC_CONCURRENCY": "many"}, "a whole number from 1 to 256"),
        ({"REFUND_SYNC_CONCURRENCY": "0"}, "a whole number from 1 to 256"),
        ({"REFUND_SYNC_SINCE": "yesterday"}, "a date or an instant"),
        ({"REFUND_SYNC_SINCE": "2025"}, "a date or an instant"),
        ({"REFUND_SYNC_SINCE": "1969-12-31"}, "a date or an instant, 1970 or later"),
        ({"REFUND_SYNC_SINCE": "1970-01-01T00:00+02:00"}, "a date or an instant, 1970 or later"),
        ({"REFUND_SYNC_SINCE": "0001-01-01"}, "a date or an instant, 1970 or later"),
        ({"REFUND_SYNC_HYDRATE": "yes"}, "expand, retrieve or parts"),
        ({"REFUND_SYNC_ENDPOINT_RATE": "nan"}, "requests a second, above 0"),
        ({"REFUND_SYNC_ACCOUNT_ID": "4711"}, "acct_…"),
        ({"REFUND_SYNC_HTTP": "8321"}, "host:port"),
        ({"REFUND_SYNC_HTTP": "localhost:99999"}, "host:port"),
        ({"REFUND_SYNC_LOG_FORMAT": "xml"}, "auto, console or json"),
        ({"REFUND_SYNC_READ_ALLOWANCE": "-1"}, "reads in 30 days, above 0"),
    ],
)
def test_a_bad_value_is_refused_by_name_and_origin_with_what_it_should_be(
    environ: dict[str, str], says: str
) -> None:
    (name,) = environ
    assert str(refusal(environ)).startswith(f"{name} (environment) is not {says}")


def test_every_bad_value_is_told_at_once(tmp_path: Path) -> None:
    config = a_file(tmp_path, "concurrency = 'x'\n")
    message = str(refusal({"REFUND_SYNC_DRAIN_S": "x"}, config))
    assert f"REFUND_SYNC_CONCURRENCY ({config})" in message
    assert "REFUND_SYNC_DRAIN_S (environment)" in message


@pytest.mark.parametrize("variable", ["STRIPE_API_KEY", "DATABASE_URL"])
def test_a_secret_both_set_and_in_a_file_is_refused(tmp_path: Path, variable: str) -> None:
    environ = {variable: KEY, f"{variable}_FILE": str(a_file(tmp_path, KEY))}
    assert str(refusal(environ)) == f"{variable} and {variable}_FILE are both set"


@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot be read: No such file"), ("\n", "is empty")]
)
def test_a_secret_file_that_holds_none_is_refused(
    tmp_path: Path, content: str | None, says: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    message = str(refusal({"STRIPE_API_KEY_FILE": str(path)}))
    assert message.startswith(f"STRIPE_API_KEY_FILE: {path}")
    assert says in message


def test_a_secret_file_of_bytes_that_are_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xff\xfe")
    assert "it is not text" in str(refusal({"STRIPE_API_KEY_FILE": str(path)}))


@pytest.mark.parametrize("name", ["stripe_api_key", "DATABASE_URL"])
def test_a_secret_in_toml_is_refused_without_being_shown(tmp_path: Path, name: str) -> None:
    error = refusal({}, a_file(tmp_path, f"{name} = '{KEY}'\n"))
    assert f"{name} does not belong here" in str(error)
    assert KEY not in f"{error} {error.hint}"


@pytest.mark.parametrize("text", ["concurrency 3", "a = 'x'\na = 'y'", "\udcff"])
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "bad.toml"
    config.write_bytes(text.encode(errors="surrogateescape"))
    assert str(refusal({}, config)).startswith(f"{config} cannot be read as TOML")


def test_a_named_configuration_file_must_be_there(tmp_path: Path) -> None:
    assert "is not there" in str(refusal({}, tmp_path / "none.toml"))


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
def test_a_key_tells_its_mode_and_kind_and_the_mode_the_rate(
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


def test_a_bad_setting_beside_secrets_shows_none_of_them() -> None:
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
    told = "whsec_new, whsec_old,whsec_third\nwhsec_last\n"
    several = ["whsec_new", "whsec_old", "whsec_third", "whsec_last"]
    assert load_settings({"REFUND_SYNC_WEBHOOK_SECRETS": told}).signing_secrets == several
    path = a_file(tmp_path, told, "REFUND_SYNC_WEBHOOK_SECRETS")
    for environ in (
        {"REFUND_SYNC_WEBHOOK_SECRETS_FILE": str(path)},
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    ):
        assert load_settings(environ).signing_secrets == several


@pytest.mark.parametrize("told", [",", "whsec_", "whsec_good sk_test_SECRET", "whsec_schlüssel"])
def test_what_is_no_secret_of_a_webhook_is_refused_and_not_shown(told: str) -> None:
    error = refusal({"REFUND_SYNC_WEBHOOK_SECRETS": told})
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
