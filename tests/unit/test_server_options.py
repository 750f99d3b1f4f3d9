"""The embedded server takes a share of the memory that it may use, within bounds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from service.adapters.postgres import server_options

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30


@pytest.mark.parametrize(
    ("memory", "mib"), [(GIB // 2, 128), (2 * GIB, 256), (6 * GIB, 768), (64 * GIB, 1024)]
)
def test_an_eighth_of_the_memory_within_bounds(memory: int, mib: int) -> None:
    assert server_options.buffers_mib(memory) == mib


@pytest.mark.parametrize(
    ("told", "mib"),
    [(str(2 * GIB), 256), ("max\n", None), (None, None)],
    ids=["limited", "unlimited", "no container"],
)
def test_a_container_counts_only_what_it_is_allowed(
    told: str | None, mib: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_the_machine = server_options.buffers_mib(
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )
    limit = tmp_path / "memory.max"
    if told is not None:
        limit.write_text(told)
    monkeypatch.setattr(server_options, "CONTAINER_LIMIT", limit)
    expected = min(mib or of_the_machine, of_the_machine)
    assert f"shared_buffers={expected}MB" in server_options.server_options()
