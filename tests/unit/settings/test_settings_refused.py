"""Settings that are refused: by name and origin, with what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.settings import (
    SETTABLE,
    Settings,
    load_settings,
    variable_of,
)
from tests.unit.settings.test_settings import KEY, a_file, refusal

if TYPE_CHECKING:
    from pathlib import Path


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


def test_an_unknown_key_in_toml_near_to_none_gets_those_that_may_stand_there(
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


def test_every_bad_value_is_reported_at_once(tmp_path: Path) -> None:
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
