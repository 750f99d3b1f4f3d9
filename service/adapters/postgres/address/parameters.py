"""What each parameter of a connection means here: honoured, ignored with a line in ``doctor``, or refused by name.

libpq knows some fifty, ORMs have their own. What cannot be honoured is ignored only where nothing is less
safe for it, or done otherwise, for that.
"""

from __future__ import annotations

from dataclasses import dataclass

LIBPQ = {
    "service": "PGSERVICE",
    "servicefile": "PGSERVICEFILE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "dbname": "PGDATABASE",
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "client_encoding": "PGCLIENTENCODING",
    "options": "PGOPTIONS",
    "application_name": "PGAPPNAME",
    "fallback_application_name": "",
    "keepalives": "",
    "keepalives_idle": "",
    "keepalives_interval": "",
    "keepalives_count": "",
    "tcp_user_timeout": "",
    "sslmode": "PGSSLMODE",
    "requiressl": "PGREQUIRESSL",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslcompression": "PGSSLCOMPRESSION",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcertmode": "PGSSLCERTMODE",
    "sslpassword": "",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslsni": "PGSSLSNI",
    "sslkeylogfile": "",
    "requirepeer": "PGREQUIREPEER",
    "require_auth": "PGREQUIREAUTH",
    "min_protocol_version": "PGMINPROTOCOLVERSION",
    "max_protocol_version": "PGMAXPROTOCOLVERSION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
    "gssdelegation": "PGGSSDELEGATION",
    "replication": "",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "scram_client_key": "",
    "scram_server_key": "",
    "oauth_issuer": "",
    "oauth_client_id": "",
    "oauth_client_secret": "",
    "oauth_scope": "",
}
"""libpq's parameters, and the environment variable that stands in for each, if there is one."""

SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_SWITCH = ("0", "1")

CHOICES = {
    "sslmode": SSLMODES,
    "sslnegotiation": ("postgres", "direct"),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "sslcertmode": ("disable", "allow", "require"),
    "target_session_attrs": (
        "any", "read-write", "read-only", "primary", "standby", "prefer-standby",
    ),
    "load_balance_hosts": ("disable", "random"),
    "ssl_min_protocol_version": TLS_VERSIONS,
    "ssl_max_protocol_version": TLS_VERSIONS,
    "min_protocol_version": ("3.0", "3.2", "latest"),
    "max_protocol_version": ("3.0", "3.2", "latest"),
    "gsslib": ("gssapi", "sspi"),
    "keepalives": _SWITCH,
    "sslsni": _SWITCH,
    "requiressl": _SWITCH,
}  # fmt: skip
NUMBERS = (
    "connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count",
    "tcp_user_timeout",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """*why* it is not honoured; *instead* is what to write, empty where ignoring it harms nothing.

    Values in *fine* ask for what happens anyway.
    """

    why: str
    instead: str = ""
    fine: tuple[str, ...] = ()


_VERIFIED = "sslmode=verify-full&sslrootcert=system (or the file of your authority)"
_NAMED = Rule("sessions are named refund-sync, by which a takeover finds them")
_OAUTH = Rule("the driver knows no OAuth", "a password")
_POOL = Rule("the pool keeps its own size and times: at most 6 connections, and one for the lease")
_STATEMENTS = Rule("a pooler that cannot keep prepared statements is noticed without it")
_SCHEMA = Rule(
    "the tables are always in the schemas refund_sync and finance", "no schema", ("public",)
)

RULES = {
    "application_name": _NAMED,
    "fallback_application_name": _NAMED,
    "client_encoding": Rule(
        "text is always sent as UTF-8", fine=("UTF8", "UTF-8", "utf8", "utf-8", "unicode", "auto")
    ),
    "sslcompression": Rule("TLS is never compressed", fine=("0",)),
    "gssdelegation": Rule("Kerberos credentials are never passed on", fine=("0",)),
    "gssencmode": Rule(
        "the driver knows no encryption by GSSAPI", _VERIFIED, fine=("disable", "prefer")
    ),
    "require_auth": Rule(
        "the driver leaves it to the server how to authenticate",
        f"{_VERIFIED}, so that no other server is answered",
    ),
    "sslcertmode": Rule(
        "the driver cannot see whether the server asked for the certificate",
        "sslcertmode=allow",
        fine=("disable", "allow"),
    ),
    "min_protocol_version": Rule(
        "the driver speaks version 3.0 of the protocol", "3.0", fine=("3.0",)
    ),
    "max_protocol_version": Rule(
        "the driver speaks version 3.0 of the protocol", fine=("3.0", "3.2", "latest")
    ),
    "replication": Rule(
        "a connection for replication serves no queries",
        "nothing: remove it",
        fine=("false", "off", "no", "0"),
    ),
    "scram_client_key": Rule("the driver needs the password itself", "password=…"),
    "scram_server_key": Rule("the driver needs the password itself", "password=…"),
    "oauth_issuer": _OAUTH,
    "oauth_client_id": _OAUTH,
    "oauth_client_secret": _OAUTH,
    "oauth_scope": _OAUTH,
}
"""libpq's parameters that are not honoured, or not with each value."""

ORM_RULES = {
    "schema": _SCHEMA,
    "currentSchema": _SCHEMA,
    "sslaccept": Rule("it is Prisma's", _VERIFIED, fine=("accept_invalid_certs",)),
    "sslidentity": Rule("it is Prisma's", "sslcert=… and sslkey=…, two files in PEM form"),
    "pgbouncer": _STATEMENTS,
    "statement_cache_size": _STATEMENTS,
    "prepared_statements": _STATEMENTS,
    "prepareThreshold": _STATEMENTS,
    "prepare": _STATEMENTS,
    **dict.fromkeys(
        (
            "prepared_statement_cache_size", "prepared_statement_name_func",
            "statement_cache_capacity", "description_cache_capacity", "statement_limit",
            "default_query_exec_mode", "binary_parameters", "disable_prepared_binary_result",
            "max_cached_statement_lifetime", "max_cacheable_statement_size", "preferQueryMode",
        ),
        _STATEMENTS,
    ),
    **dict.fromkeys(
        (
            "connection_limit", "pool", "pool_size", "pool_timeout", "pool_recycle", "max_overflow",
            "pool_min_conns", "pool_max_conns", "pool_max_conn_lifetime", "pool_max_conn_idle_time",
            "pool_health_check_period", "max_connection_lifetime", "max_idle_connection_lifetime",
            "socket_timeout", "command_timeout", "checkout_timeout", "idle_timeout",
            "reaping_frequency", "conn_max_age", "conn_health_checks", "max", "min",
        ),
        _POOL,
    ),
    **dict.fromkeys(
        ("uselibpqcompat", "supa", "workaround", "async_fallback"),
        Rule("it means something to another program only"),
    ),
}  # fmt: skip
"""What other programs put into the same string."""

WITHOUT_STATEMENTS = {
    "pgbouncer": ("true", "1", "yes", "on"),
    "statement_cache_size": ("0",),
    "prepared_statements": ("false", "0", "no", "off"),
    "prepareThreshold": ("0",),
    "prepare": ("false", "0"),
}
"""Where another program says that a pooler stands before Postgres: believed, not asked."""

ASKS_FOR_TLS = ("true", "1", "yes", "on")
SSL = {
    **dict.fromkeys(ASKS_FOR_TLS, "require"),
    **dict.fromkeys(("false", "0", "no", "off"), "disable"),
    **{mode: mode for mode in SSLMODES},
}
"""``ssl=`` of drivers, in words of ``sslmode=``; libpq too takes true for require."""

KNOWN = frozenset({*LIBPQ, *ORM_RULES, "database", "ssl"})
