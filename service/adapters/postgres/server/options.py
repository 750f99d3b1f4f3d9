"""How the embedded server is set: for one machine that does other things too, and no replica."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PORT = 5432
"""Names the socket; the server listens on no network."""

OWN_GROUP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
LEAST_BUFFERS_MIB, MOST_BUFFERS_MIB = 256, 1024


def server_options() -> list[str]:
    """``name=value``, each."""
    return [
        f"port={PORT}",
        "listen_addresses=",
        f"shared_buffers={buffers_mib(_memory_bytes())}MB",
        "max_wal_size=4GB",
        "wal_level=minimal",
        "max_wal_senders=0",
        "jit=off",
    ]


def buffers_mib(memory_bytes: int) -> int:
    """What the server keeps of its tables in memory: an eighth of it, within bounds."""
    return min(max(memory_bytes // 8 // 2**20, LEAST_BUFFERS_MIB), MOST_BUFFERS_MIB)


def _memory_bytes() -> int:
    """The machine's, or what a container or a systemd unit is allowed of it."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for group in _control_groups():
        with suppress(OSError, ValueError):  # no limit there, or "max"
            limits.append(int((group / "memory.max").read_text()))
    return min(limits)


def _control_groups() -> list[Path]:
    """The one that this process is in, and those around it (version 2; none elsewhere)."""
    try:
        lines = OWN_GROUP.read_text().splitlines()
    except OSError:
        return []
    own = [Path(line.removeprefix("0::/")) for line in lines if line.startswith("0::/")]
    return [GROUPS / group for path in own for group in (path, *path.parents)]
