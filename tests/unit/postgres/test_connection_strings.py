"""Connection strings as vendors, ORMs and people write them: understood, or refused by name, never half."""

from __future__ import annotations

import pytest

from service.adapters.postgres.address.address import Address, Host, address_of
from service.adapters.postgres.address.parameters import LIBPQ, ORM_RULES, RULES
from service.domain.errors import SettingError

BASE = "postgresql://finn:Tr0ub4dor@db.example:5433/money"


def no_services(name: str, file: str | None) -> dict[str, str]:
    raise AssertionError(f"no service is asked for: {name}, {file}")


def understood(text: str, **environ: str) -> Address:
    return address_of(text, environ, no_services)


def refused(text: str, **environ: str) -> str:
    """Message and hint, which must hold no piece of a password."""
    with pytest.raises(SettingError) as raised:
        understood(text, **environ)
    assert raised.value.exit_code == 3
    reported = f"{raised.value}\n{raised.value.hint}"
    assert not [piece for piece in ("Tr0u", "b4dor", "hunter") if piece in reported]
    return reported


ONE = (Host("db.example", "db.example", 5433),)
FORMS = {
    "a URL": BASE,
    "the short scheme": BASE.replace("postgresql", "postgres"),
    "SQLAlchemy's, for asyncpg": BASE.replace("postgresql", "postgresql+asyncpg"),
    "SQLAlchemy's, for psycopg2": BASE.replace("postgresql", "postgresql+psycopg2"),
    "all in the query": "postgresql://?host=db.example&port=5433&user=finn&password=Tr0ub4dor&dbname=money",
    "keywords": "host=db.example port=5433 user=finn password=Tr0ub4dor dbname=money",
    "keywords in quotes": "host = 'db.example' port=5433 user='finn' password='Tr0ub4dor' dbname=money ",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_every_form_says_the_same(text: str) -> None:
    address = understood(text)
    named = {name: address.get(name) for name in ("user", "password", "dbname")}
    assert named == {"user": "finn", "password": "Tr0ub4dor", "dbname": "money"}
    assert address.hosts == ONE


VENDORS = {
    "Neon": "postgresql://u:p@ep-cool.aws.neon.tech/db?sslmode=require&channel_binding=require",
    "Supabase, pooled": "postgresql://postgres.ref:p@aws-0.pooler.supabase.com:6543/postgres?pgbouncer=true&connection_limit=1",
    "Supabase by Vercel": "postgres://postgres.ref:p@db.supabase.co:5432/postgres?sslmode=require&supa=base-pooler.x",
    "Vercel": "postgres://default:p@ep.vercel-storage.com:5432/verceldb?sslmode=require&pgbouncer=true&connect_timeout=15",
    "PlanetScale": "postgresql://u:p@eu.pg.psdb.cloud:5432/postgres?sslmode=verify-full&sslrootcert=system&sslnegotiation=direct",
    "Prisma": "postgresql://u:p@db.example/db?schema=public&sslaccept=accept_invalid_certs&pool_timeout=0",
    "Cloud SQL": "postgresql://u:p@/db?host=/cloudsql/project:region:instance",
    "Cockroach": "postgresql://u:p@host.cockroachlabs.cloud:26257/db?sslmode=verify-full&options=--cluster%3Dname",
    "Azure": "postgres://u%40server:p@server.postgres.database.azure.com/postgres?sslmode=require",
    "Heroku, for node": "postgres://u:p@ec2.compute.amazonaws.com:5432/d?ssl=true&uselibpqcompat=true",
}


@pytest.mark.parametrize("text", VENDORS.values(), ids=VENDORS)
def test_what_vendors_hand_out_is_understood(text: str) -> None:
    understood(text)


def test_every_parameter_is_honoured_or_has_a_rule_or_a_place_of_its_own() -> None:
    assert set(RULES) <= set(LIBPQ)
    assert not set(ORM_RULES) & set(LIBPQ)


IGNORED = {
    "application_name=app": "application_name is ignored: sessions are named refund-sync",
    "fallback_application_name=app": "fallback_application_name is ignored: sessions are named",
    "client_encoding=LATIN1": "client_encoding is ignored: text is always sent as UTF-8",
    "sslcompression=1": "sslcompression is ignored: TLS is never compressed",
    "gssdelegation=1": "gssdelegation is ignored: Kerberos credentials are never passed on",
    "connection_limit=5": "connection_limit is ignored: the pool keeps its own size",
    "statement_cache_size=100": "statement_cache_size is ignored: a pooler that cannot keep",
    "ssl=true": "ssl is read as sslmode=require, as libpq does: no certificate is verified",
    "channel_binding=require": "channel_binding=require is met by verifying the certificate",
    "sslrootcert=/ca.pem": "sslrootcert is ignored: sslmode=prefer goes on without TLS",
    "sslmode=disable&sslcrl=/crl.pem": "sslcrl is ignored: sslmode=disable goes on without TLS",
}


@pytest.mark.parametrize(("query", "says"), IGNORED.items())
def test_what_is_done_otherwise_is_one_line_for_doctor(query: str, says: str) -> None:
    (note,) = understood(f"{BASE}?{query}").notes
    assert note.startswith(f"DATABASE_URL: {says}")


@pytest.mark.parametrize(
    "query",
    [
        "client_encoding=utf8", "sslcompression=0", "gssencmode=disable", "gssencmode=prefer",
        "replication=false", "sslcertmode=allow", "min_protocol_version=3.0", "schema=public",
        "max_protocol_version=latest", "channel_binding=prefer", "requirepeer=postgres",
        "pgbouncer=true", "sslmode=verify-full&ssl=true",
    ],
)  # fmt: skip
def test_what_asks_for_no_more_than_is_done_needs_no_line(query: str) -> None:
    assert understood(f"{BASE}?{query}").notes == ()


REFUSED = {
    "require_auth=hunter22": ("require_auth cannot be honoured", "sslmode=verify-full"),
    "gssencmode=require": ("gssencmode cannot be honoured", "sslmode=verify-full"),
    "sslcertmode=require": ("sslcertmode cannot be honoured", "sslcertmode=allow"),
    "min_protocol_version=3.2": ("min_protocol_version cannot be honoured", "3.0"),
    "replication=database": ("replication cannot be honoured", "remove it"),
    "scram_client_key=hunter22": ("scram_client_key cannot be honoured", "password="),
    "scram_server_key=hunter22": ("scram_server_key cannot be honoured", "password="),
    "oauth_issuer=hunter22": ("oauth_issuer cannot be honoured", "a password"),
    "oauth_client_id=hunter22": ("oauth_client_id cannot be honoured", "a password"),
    "oauth_client_secret=hunter22": ("oauth_client_secret cannot be honoured", "a password"),
    "oauth_scope=hunter22": ("oauth_scope cannot be honoured", "a password"),
    "schema=billing": ("schema cannot be honoured", "refund_sync and finance"),
    "sslaccept=strict": ("sslaccept cannot be honoured", "sslrootcert=system"),
    "sslidentity=id.p12": ("sslidentity cannot be honoured", "sslkey"),
    "ssl=hunter22": ("ssl is not understood", "sslmode=…"),
    "ssl=true&sslmode=prefer": ("ssl asks for more than sslmode", "sslmode=… alone"),
    "sslmode=hunter22": ("sslmode is not one of disable, allow", ""),
    "sslnegotiation=hunter22": ("sslnegotiation is not one of postgres, direct", ""),
    "target_session_attrs=hunter22": ("target_session_attrs is not one of any", ""),
    "load_balance_hosts=hunter22": ("load_balance_hosts is not one of", ""),
    "channel_binding=hunter22": ("channel_binding is not one of", ""),
    "connect_timeout=hunter22": ("connect_timeout is not a whole number", ""),
    "keepalives=hunter22": ("keepalives is not one of 0, 1", ""),
    "keepalives_idle=1.5": ("keepalives_idle is not a whole number", ""),
    "ssl_min_protocol_version=SSLv3": ("ssl_min_protocol_version is not one of TLSv1", ""),
    "ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2": (
        "ssl_min_protocol_version is above ssl_max_protocol_version", "",
    ),
    "sslmode=require&sslrootcert=system": ("too weak for sslrootcert=system", "sslmode=verify-full"),
    "sslmode=disable&channel_binding=require": ("channel_binding=require needs TLS", "verify-full"),
    "sslnegotiation=direct": ("sslnegotiation=direct needs sslmode=require", ""),
    "host=/tmp&requirepeer=hunter22": ("requirepeer cannot be honoured", "host=…"),
    "host=/tmp&channel_binding=require": ("channel_binding=require needs TLS", "by TCP"),
    "host=a,b&hostaddr=127.0.0.1": ("host and hostaddr do not name equally many", ""),
    "host=a,b,c&port=1,2": ("2 ports do not fit 3 hosts", ""),
    "sslmod=require": ("unknown parameter sslmod; did you mean sslmode?", ""),
    "work_mem=8MB": ("unknown parameter work_mem", "options=-c%20work_mem%3DVALUE"),
}  # fmt: skip


@pytest.mark.parametrize(("query", "says"), REFUSED.items())
def test_what_cannot_be_honoured_is_refused_by_name_with_what_to_write(
    query: str, says: tuple[str, str]
) -> None:
    base = BASE.replace("db.example:5433", "") if "host=" in query else BASE
    reported = refused(f"{base}?{query}")
    assert reported.startswith("DATABASE_URL: ")
    for part in says:
        assert part in reported


SCHEMES = {
    "jdbc:postgresql://db.example/money?user=finn&password=Tr0ub4dor": "JDBC's form",
    "prisma+postgres://accelerate.prisma-data.net/?api_key=hunter22": "Prisma's own proxy",
    "mysql://finn:Tr0ub4dor@db.example/money": "not Postgres",
    "https://db.example/hunter22": "a web address",
    f"psql '{BASE}'": "quotes or a command around",
    f'"{BASE}"': "quotes or a command around",
}


@pytest.mark.parametrize(("text", "says"), SCHEMES.items())
def test_an_address_of_another_kind_is_called_that(text: str, says: str) -> None:
    reported = refused(text)
    assert says in reported
    assert "postgresql://USER:PASSWORD@HOST" in reported


UNCLEAR = [
    "postgresql://finn:12@Tr0ub4dor@db.example/money",
    "postgresql://finn:12/Tr0ub4dor@db.example/money",
    "postgresql://finn:Tr0ub4dor/x@db.example/money",
    "postgresql://finn:x@Tr0ub4dor/hunter22@db.example/money",
    "postgresql://finn:x@Tr0ub4dor?hunter22=y@db.example/money",
    "postgresql://finn:Tr0ub4dor#x@db.example/money",
    "postgresql://finn:x@Tr0ub4dor#hunter22@db.example/money",
    "postgresql://finn:Tr0ub4dor?x@db.example/money",
    "postgresql://finn:Tr0ub4dor?hunter22=x@db.example/money?sslmode=require",
    "postgresql://finn:Tr0ub[4dor@db.example/money",
    "postgresql://finn:Tr0ub]4dor@db.example/money",
    "postgresql://finn:Tr0ub4dor%@db.example/money",
    "postgresql://finn:Tr0ub4dor%zz@db.example/money",
    "postgresql://finn:Tr0u b4dor@db.example/money",
    "postgresql://finn:Tr0ub4dor@db.example:hunter22/money",
    "postgresql://finn:Tr0ub4dor@db.example:99999/money",
    "postgresql://finn:Tr0ub4dor@[::1/money",
    "postgresql://finn:Tr0ub4dor@db!example/money",
    "finn:Tr0ub4dor@db.example/money",
    "Tr0ub4dor",
    "hunter2+x://finn:Tr0ub4dor@db.example/money",
]


@pytest.mark.parametrize("text", UNCLEAR)
def test_a_sign_that_was_not_encoded_is_refused_with_a_hint_before_anything_is_looked_up(
    text: str,
) -> None:
    reported = refused(text)
    assert reported.startswith("DATABASE_URL is not a Postgres address")
    assert "percent-encode" in reported


@pytest.mark.parametrize(
    "text",
    [
        "host=db.example password=Tr0ub4dor hunter22 dbname=money",
        "host=db.example password=Tr0ub4dor hunter22=1 dbname=money",
        "host=db.example password='Tr0ub4dor dbname=money",
    ],
)
def test_keywords_with_a_blank_that_was_not_quoted_are_refused_without_naming_it(text: str) -> None:
    assert "Put a value with blanks or quotes into '…'" in refused(text)


def test_a_password_in_keywords_may_hold_quotes_and_backslashes() -> None:
    assert understood(r"host=h password='it\'s a \\ b' user=u").get("password") == r"it's a \ b"
    assert understood(r"host=h password=a\ b user=u").get("password") == "a b"
