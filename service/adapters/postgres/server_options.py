"""How the embedded server is set: for one machine that does other things too, and no replica."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PORT = 5432
"""Names the socket; the server listens on no network."""

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
LEAST_BUFFERS_MIB, MOST_BUFFERS_MIB = 128, 1024


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
    """The machine's, or what a container is allowed of it."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError):  # no container's limit, or "max"
        limits.append(int(CONTAINER_LIMIT.read_text()))
    return min(limits)
