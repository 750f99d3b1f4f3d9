"""An authority of the test's own: certificates that it issues, and revokes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """
[ca]
default_ca = ours
[ours]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha256
default_days = 2
default_crl_days = 2
policy = anything
unique_subject = no
copy_extensions = copy
[anything]
commonName = supplied
"""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM form."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """By way of openssl's own little certificate authority."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def create(self) -> Authority:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "index").write_text("")
        (self.folder / "serial").write_text("01\n")
        (self.folder / "conf").write_text(CONFIGURATION.format(folder=self.folder))
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                      "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
        return self

    def issue(self, name: str, *alternatives: str, password: str = "") -> Pair:
        """*alternatives* such as ``DNS:localhost`` or ``IP:127.0.0.1``."""
        extra = ["-addext", f"subjectAltName={','.join(alternatives)}"] if alternatives else []
        lock = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        self._openssl("req", "-newkey", "rsa:2048", *lock, "-subj", f"/CN={name}", *extra,
                      "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        self._openssl("ca", "-config", "conf", "-batch", "-notext", "-in", f"{name}.csr",
                      "-out", f"{name}.pem")  # fmt: skip
        return Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")

    def revoked(self, *pairs: Pair) -> Path:
        """A list that revokes these."""
        for pair in pairs:
            self._openssl("ca", "-config", "conf", "-revoke", str(pair.certificate))
        self._openssl("ca", "-config", "conf", "-gencrl", "-out", "crl.pem")
        return self.folder / "crl.pem"

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
