"""The migrations that this program knows."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import service


def migrations_folder() -> Path:
    """Next to the checkout's package, else inside the wheel's; never by working directory.

    An editable install may leave an old copy in site-packages: the checkout's own comes first.
    """
    package = Path(service.__file__).resolve().parent
    folder = package.parent / "migrations"
    return folder if (folder / "env.py").exists() else package / "_migrations"


@cache
def known_revisions() -> tuple[str, ...]:
    """All that this program knows, newest first: migrations are numbered, and named by their number."""
    return tuple(sorted(_files(), reverse=True))


@cache
def reversible_revisions() -> frozenset[str]:
    """Those that can be rolled back: their files define ``downgrade``."""
    return frozenset(
        name for name, file in _files().items() if "def downgrade" in file.read_text("utf-8")
    )


def _files() -> dict[str, Path]:
    files = (migrations_folder() / "versions").glob("[0-9]*_*.py")
    return {file.stem.partition("_")[0]: file for file in files}
