"""A proxy and trusted certificates as the environment names them, and what a failure on the way is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from service.adapters.stripe.http.route import Route
from service.domain.errors import SettingError
from service.settings import load_settings
from service.settings.network import Network, network_of
from tests.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

STRIPE = "https://api.stripe.com"
PROXY = "http://proxy.corp:3128"


@pytest.mark.parametrize(
    ("no_proxy", "used"),
    [
        ("", True),
        ("example.com,corp", True),
        ("api.stripe.com", False),
        ("stripe.com", False),
        (".stripe.com", False),
        ("*", False),
        ("api.stripe.com:443", False),
        ("api.stripe.com:8443", True),
        ("tripe.com", True),
    ],
)
def test_a_host_is_reached_past_the_proxy_where_it_is_excepted(no_proxy: str, used: bool) -> None:
    network = network_of({"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy})
    assert network.proxy_for(STRIPE) == (PROXY if used else None)


def test_plain_http_never_goes_by_a_proxy_which_would_see_the_key() -> None:
    network = network_of({"HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY})
    assert network.proxy_for("http://127.0.0.1:9000") is None
    assert network_of({"HTTP_PROXY": PROXY}).proxy_for(STRIPE) is None


def test_lower_case_counts_before_upper_case_and_a_bare_host_is_http() -> None:
    assert network_of({"https_proxy": "here:1", "HTTPS_PROXY": PROXY}).proxy == "http://here:1"
    assert network_of({"https_proxy": "", "HTTPS_PROXY": PROXY}).proxy is None


def test_user_and_password_of_a_proxy_show_nowhere() -> None:
    settings = load_settings({"HTTPS_PROXY": "http://clerk:hunt%2Fer2@proxy.corp:3128"})
    assert settings.network.shown()["HTTPS_PROXY"] == "http://[masked]@proxy.corp:3128"
    assert {"hunt%2Fer2", "hunt/er2"} <= set(settings.secrets())
    assert "er2" not in repr(settings)


@pytest.mark.parametrize("proxy", ["socks5://proxy:1080", "http://", "http://proxy:port", "//"])
def test_what_is_no_proxy_is_refused_by_name(proxy: str) -> None:
    with pytest.raises(SettingError, match="HTTPS_PROXY") as caught:
        network_of({"HTTPS_PROXY": proxy})
    assert caught.value.exit_code == 3


def test_a_bad_file_of_certificates_is_called_that(tmp_path: Path) -> None:
    good = Authority(tmp_path / "ca").create().certificate
    assert network_of({"SSL_CERT_FILE": str(good)}) == Network(cert_file=str(good))
    empty, damaged = tmp_path / "empty", tmp_path / "damaged"
    empty.write_text("")
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    says = {
        tmp_path / "none": "No such file",
        tmp_path: "Is a directory",
        empty: "holds no certificate",
        damaged: "it is damaged",
    }
    for path, words in says.items():
        with pytest.raises(SettingError, match=f"SSL_CERT_FILE.*{words}"):
            network_of({"SSL_CERT_FILE": str(path)})
    with pytest.raises(SettingError, match="SSL_CERT_DIR"):
        network_of({"SSL_CERT_DIR": str(empty)})


def test_the_key_of_an_organisation_gets_the_reason_why_it_does_not_serve() -> None:
    settings = load_settings({"STRIPE_API_KEY": "sk_org_live_1234567890"})
    with pytest.raises(SettingError, match=r"organisation.*one account"):
        settings.require_key()


def test_a_name_without_an_address_is_reported_from_a_connection_that_fails() -> None:
    route = Route(STRIPE, None)
    there = ConnectionKey("api.stripe.com", 443, True, True, None, None, None)
    unknown = aiohttp.ClientConnectorDNSError(there, OSError("Name or service not known"))
    assert route.failure_of(unknown, 80)[0] == "name"
    assert "/etc/resolv.conf" in route.hint_of("name")
    closed = aiohttp.ClientConnectorError(there, ConnectionRefusedError(111, "refused"))
    assert route.failure_of(closed, 80)[0] == "connection"
    assert "api.stripe.com:443 may leave" in route.hint_of("connection")
    slow = aiohttp.ConnectionTimeoutError("Connection timeout")
    assert route.failure_of(slow, 80) == (
        "connection",
        "no connection to api.stripe.com:443 in 10 s",
    )
    assert route.failure_of(TimeoutError(), 80) == ("timeout", "no answer in 80 s")
