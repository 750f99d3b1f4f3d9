"""Settings without anybody's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without anybody's refund-sync.toml."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
