"""Whatever a password holds: encoded it arrives, raw it is refused or arrives, and no piece of it is looked up."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from service.adapters.postgres.address.address import address_of
from service.domain.errors import SettingError

SIGNS = st.text(alphabet="ab1/@#?%[]:=&, '\\+.!", min_size=1, max_size=12)
HOST = "db.example.com"


def parsed(text: str) -> tuple[str, set[str]]:
    address = address_of(text, {}, lambda *_: {})
    return address.get("password"), {host.address for host in address.hosts}


@given(password=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_an_encoded_password_arrives_as_it_is(password: str) -> None:
    text = f"postgresql://finn:{quote(password, safe='')}@{HOST}:5432/money?sslmode=require"
    assert parsed(text) == (password, {HOST})


@given(password=SIGNS)
def test_of_a_raw_password_nothing_is_looked_up(password: str) -> None:
    try:
        _, hosts = parsed(f"postgresql://finn:{password}@{HOST}:5432/money?sslmode=require")
    except SettingError as error:
        reported = f"{error} {error.hint}"
        assert "unknown parameter" not in reported
    else:
        assert hosts == {HOST}


@given(password=SIGNS)
def test_a_quoted_password_arrives_as_it_is(password: str) -> None:
    escaped = password.replace("\\", r"\\").replace("'", r"\'")
    found, hosts = parsed(f"host={HOST} password='{escaped}' user=finn")
    assert (found, hosts) == (password, {HOST})
