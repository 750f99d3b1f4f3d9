"""TLS to the database as a connection string asks for it, with each file that it names called by its name."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from service.adapters.postgres.address.address import SYSTEM
from service.adapters.postgres.address.dsn import SETTING
from service.adapters.postgres.address.libpq_files import home
from service.domain.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.adapters.postgres.address.address import Address, Host

_VERIFIES = ("verify-ca", "verify-full")
_PEM = "PEM form (-----BEGIN …)"


class _Context(ssl.SSLContext):
    """Asks for the certificate of the host's name, also where its address was given; or names no host."""

    name: str | None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,  # noqa: ARG002 - what was connected to
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.name, session)


def context_of(address: Address, host: Host) -> ssl.SSLContext:
    """For a connection to *host*. Raises SettingError where a file is missing, closed to us, or no such file."""
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = address.sslmode == "verify-full"
    context.verify_mode = ssl.CERT_NONE if not context.check_hostname else ssl.CERT_REQUIRED
    context.name = host.name if context.check_hostname or address.get("sslsni") != "0" else None
    context.set_alpn_protocols(["postgresql"])
    context.minimum_version = _version(address.get("ssl_min_protocol_version", "TLSv1.2"))
    if most := address.get("ssl_max_protocol_version"):
        context.maximum_version = _version(most)
    if address.needs_tls:
        _trust(context, address)
        _take_revocations(context, address)
    _show(context, address)
    if keys := address.get("sslkeylogfile"):
        _loaded("sslkeylogfile", keys, lambda: setattr(context, "keylog_filename", keys), "a file")
    return context


def _version(text: str) -> ssl.TLSVersion:
    return ssl.TLSVersion[text.replace(".", "_")]


def _trust(context: ssl.SSLContext, address: Address) -> None:
    """Whose certificates are believed: without an authority in sight, require means TLS with anybody."""
    named, usual = address.get("sslrootcert"), home(".postgresql/root.crt")
    if named == SYSTEM or (not (named or usual.is_file()) and address.binds_by_certificate):
        context.load_default_certs()
    elif named or usual.is_file():
        file = named or str(usual)
        _loaded("sslrootcert", file, lambda: context.load_verify_locations(cafile=file))
    elif address.sslmode in _VERIFIES:
        raise SettingError(
            f"{SETTING}: sslmode={address.sslmode} needs an authority to verify by",
            hint="Add sslrootcert=system, or sslrootcert= with the file of your authority.",
        )
    else:
        return
    context.verify_mode = ssl.CERT_REQUIRED


def _take_revocations(context: ssl.SSLContext, address: Address) -> None:
    file, folder = address.get("sslcrl"), address.get("sslcrldir")
    usual = home(".postgresql/root.crl")
    if not (file or folder) and usual.is_file():
        file = str(usual)
    if file:
        _loaded("sslcrl", file, lambda: context.load_verify_locations(cafile=file))
    if folder:
        if not Path(folder).is_dir():
            raise SettingError(f"{SETTING}: there is no folder {folder} for sslcrldir")
        context.load_verify_locations(capath=folder)
    if file or folder:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _show(context: ssl.SSLContext, address: Address) -> None:
    """Our own certificate, where one is named, or lies in the usual place."""
    if address.get("sslcertmode") == "disable":
        return
    usual = home(".postgresql/postgresql.crt")
    certificate = address.get("sslcert") or (str(usual) if usual.is_file() else "")
    if not certificate:
        return
    usual_key = home(".postgresql/postgresql.key")
    key = address.get("sslkey") or (str(usual_key) if usual_key.is_file() else None)
    password = address.get("sslpassword")
    for name, file in (("sslcert", certificate), ("sslkey", key)):
        if file:
            _loaded(name, file, lambda file=file: Path(file).read_bytes())  # type: ignore[misc]
    _loaded(
        "sslcert", certificate,
        lambda: context.load_cert_chain(certificate, key, password=lambda: password),
        f"a certificate that fits its key, both in {_PEM}; a key with a password needs sslpassword",
    )  # fmt: skip


def _loaded(name: str, file: str, load: Callable[[], object], expected: str = "") -> None:
    """Raises SettingError that says which parameter's file it is, and what is wrong with it."""
    try:
        load()
    except FileNotFoundError:
        raise SettingError(
            f"{SETTING}: there is no file {file} for {name}", hint="Correct the path."
        ) from None
    except (ssl.SSLError, ValueError):
        raise SettingError(
            f"{SETTING}: {name}: {file} is not {expected or f'a certificate in {_PEM}'}"
        ) from None
    except OSError as error:
        raise SettingError(
            f"{SETTING}: {name}: {file} cannot be read: {error.strerror}",
            hint="It must be a file that this user may read.",
        ) from None
