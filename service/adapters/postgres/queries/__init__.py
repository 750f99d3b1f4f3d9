"""Every statement that runs, by name. A file holds one area; ``-- name`` opens a statement."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- (\w+)$", re.MULTILINE)


@cache
def all_queries() -> dict[str, str]:
    """Name to SQL. A name given twice is a bug, and raises."""
    found: dict[str, str] = {}
    for file in sorted(resources.files(__name__).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql"):
            parts = _NAME.split(file.read_text(encoding="utf-8"))[1:]
            for name, sql in zip(parts[::2], parts[1::2], strict=True):
                if name in found:
                    raise ValueError(f"two queries are named {name}")
                found[name] = sql.strip()
    return found


def query(name: str) -> str:
    return all_queries()[name]
