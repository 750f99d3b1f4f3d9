"""The embedded server takes a share of the memory that it may use, within bounds."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from service.adapters.postgres.server import options as server_options

GIB = 2**30


LIMITED = str(4 * GIB)


@pytest.mark.parametrize(
    ("memory", "mib"), [(GIB // 2, 256), (2 * GIB, 256), (6 * GIB, 768), (64 * GIB, 1024)]
)
def test_an_eighth_of_the_memory_within_bounds(memory: int, mib: int) -> None:
    assert server_options.buffers_mib(memory) == mib


@pytest.mark.parametrize(
    ("group", "limits", "mib"),
    [
        ("0::/", {".": LIMITED}, 512),
        ("0::/system.slice/ours.service", {"system.slice/ours.service": LIMITED}, 512),
        ("0::/system.slice/ours.service", {"system.slice": LIMITED, "system.slice/ours.service": "max"}, 512),
        ("0::/system.slice/ours.service", {"system.slice/another.service": LIMITED}, None),
        ("1:memory:/old", {"old": LIMITED}, None),
        (None, {}, None),
    ],
    ids=["container", "unit", "its slice", "another's", "version 1", "no groups"],
)  # fmt: skip
def test_a_container_and_a_unit_count_only_what_they_are_allowed(
    group: str | None, limits: dict[str, str], mib: int | None,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    own = tmp_path / "own"
    if group is not None:
        own.write_text(f"{group}\n")
    for name, limit in limits.items():
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(server_options, "OWN_GROUP", own)
    monkeypatch.setattr(server_options, "GROUPS", tmp_path)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    of_the_machine = server_options.buffers_mib(machine)
    expected = min(mib or of_the_machine, of_the_machine)
    assert f"shared_buffers={expected}MB" in server_options.server_options()


def test_the_unit_leaves_room_next_to_the_buffers() -> None:
    unit = (Path(__file__).parents[3] / "deploy" / "refund-sync.service").read_text()
    (gib,) = re.findall(r"^MemoryMax=(\d+)G$", unit, re.MULTILINE)
    assert server_options.buffers_mib(int(gib) * GIB) * 4 <= int(gib) * 1024
