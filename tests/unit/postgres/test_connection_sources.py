"""Where the parts of an address come from: itself, the environment, a service."""

from __future__ import annotations

import pytest

from service.adapters.postgres.address.address import address_of
from service.adapters.process.logs import Redactor
from service.settings import Settings
from tests.unit.postgres.test_connection_strings import (
    BASE,
    FORMS,
    ONE,
    UNCLEAR,
    refused,
    understood,
)


def test_hosts_and_ports_go_together() -> None:
    several = understood("postgresql://u@h1:5433,h2,[::1]:5434/db").hosts
    assert [(host.address, host.port) for host in several] == [
        ("h1", 5433), ("h2", 5432), ("::1", 5434),
    ]  # fmt: skip
    one_port = understood("host=h1,h2 port=6000 user=u").hosts
    assert [host.port for host in one_port] == [6000, 6000]
    (addressed,) = understood("postgresql://u@db.example/db?hostaddr=127.0.0.1").hosts
    assert (addressed.name, addressed.address) == ("db.example", "127.0.0.1")


def test_the_environment_says_what_the_address_leaves_out() -> None:
    address = understood(
        "postgresql://finn@db.example/money", PGPASSWORD="Tr0ub4dor", PGUSER="other", PGPORT="5433",
        PGHOSTADDR="127.0.0.1", PGSSLMODE="require", PGOPTIONS="-c work_mem=8MB",
    )  # fmt: skip
    assert address.hosts == ONE
    assert (address.get("user"), address.get("password")) == ("finn", "Tr0ub4dor")
    assert (address.sslmode, address.get("options")) == ("require", "-c work_mem=8MB")


def test_what_the_environment_asks_for_is_refused_by_the_name_of_its_variable() -> None:
    assert "require_auth (PGREQUIREAUTH) cannot" in refused(BASE, PGREQUIREAUTH="scram-sha-256")
    assert refused(BASE, PGSSLMODE="hunter22").startswith("PGSSLMODE: sslmode is not one of")


def test_variables_about_the_way_do_not_hold_for_a_socket_of_this_machine() -> None:
    address = understood(
        "postgresql://finn@/money?host=/tmp", PGREQUIREAUTH="md5", PGCHANNELBINDING="require"
    )
    assert sorted(address.notes) == [
        "PGCHANNELBINDING is not applied to a Unix socket",
        "PGREQUIREAUTH is not applied to a Unix socket",
    ]


def test_a_service_comes_between_the_address_and_the_environment() -> None:
    def services(name: str, file: str | None) -> dict[str, str]:
        assert (name, file) == ("refunds", "/etc/services")
        return {"host": "db.example", "port": "5433", "user": "other", "sslmode": "require"}

    address = address_of(
        "postgresql://finn@/money?service=refunds",
        {"PGSERVICEFILE": "/etc/services", "PGPORT": "1", "PGHOSTADDR": "127.0.0.1"},
        services,
    )
    assert (address.get("user"), address.sslmode) == ("finn", "require")
    assert [(host.name, host.port) for host in address.hosts] == [("db.example", 5433)]


def test_what_binds_a_password_to_its_server_is_never_weakened() -> None:
    for query in (
        "channel_binding=require", "sslmode=require&channel_binding=require",
        "sslmode=prefer&channel_binding=require", "sslrootcert=system",
    ):  # fmt: skip
        assert understood(f"{BASE}?{query}").sslmode == "verify-full"


def test_a_pooler_that_is_announced_is_believed() -> None:
    for query in (
        "pgbouncer=true", "statement_cache_size=0", "prepared_statements=false",
        "prepareThreshold=0", "prepare=false",
    ):  # fmt: skip
        assert understood(f"{BASE}?{query}").without_statements
    for query in ("pgbouncer=false", "statement_cache_size=100", "sslmode=require"):
        assert not understood(f"{BASE}?{query}").without_statements


@pytest.mark.parametrize("text", [*FORMS.values(), *(t for t in UNCLEAR if "finn:" in t)])
def test_the_password_is_taken_out_of_messages_however_it_is_written(text: str) -> None:
    redactor = Redactor()
    redactor.learn(Settings.model_validate({"database_url": text}).secrets())
    assert "b4dor" not in redactor(f"failed with {text}")


def test_no_password_shows_in_a_repr() -> None:
    assert "Tr0ub4dor" not in repr(understood(BASE))
