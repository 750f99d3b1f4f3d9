"""Where a life happens: a folder, and a Postgres that may be stopped and started."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.adapters.postgres.server import binaries
from tests.databases import OwnServer, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def places() -> Iterator[tuple[Path, OwnServer]]:
    with scratch_folder() as folder, scratch_folder() as data:
        server = OwnServer(data, binaries.find_binaries())
        server.create()
        server.start()
        try:
            yield folder, server
        finally:
            server.stop_immediately()
