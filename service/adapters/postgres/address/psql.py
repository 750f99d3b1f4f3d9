"""What psql, and what it starts, needs in its environment to reach the same database."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from service.adapters.postgres.address.address import SYSTEM, address_of
from service.adapters.postgres.address.libpq_files import service_values
from service.adapters.postgres.address.parameters import LIBPQ

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
)  # fmt: skip


def psql_environment(dsn: str, environ: Mapping[str, str]) -> dict[str, str]:
    """*environ* with libpq's variables as *dsn* says, and with none that it does not.

    On a command line its password would show in the process list. Raises SettingError.
    """
    kept = {name: value for name, value in environ.items() if name not in LIBPQ.values()}
    whole = address_of(dsn, environ, service_values).for_libpq()
    if whole.get("PGSSLROOTCERT") == SYSTEM and (bundle := _bundle()):
        # libpq knows the word from version 16 on; with it, this is the default.
        whole = {"PGSSLMODE": "verify-full"} | whole | {"PGSSLROOTCERT": bundle}
    return kept | whole


def _bundle() -> str | None:
    """The system's authorities in one file, where it has one."""
    places = (ssl.get_default_verify_paths().cafile, *_BUNDLES)
    return next((place for place in places if place and Path(place).is_file()), None)
