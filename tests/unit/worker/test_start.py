"""What a command loads when it starts: no more than what it uses."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic.script import ScriptDirectory

from service.adapters.postgres.schema.by_alembic import configuration
from service.adapters.postgres.schema.revisions import known_revisions

SCHEMA_TOOLS = {"alembic", "sqlalchemy"}
HTTP = {"aiohttp"}
DAEMON = {"apscheduler", "prometheus_client", "aiohttp.web"}
PARTS = "import service.cli.{0}; from service.app import {1}"


def loaded(code: str) -> set[str]:
    """The names of the modules that a new process has loaded after that."""
    ask = f"{code}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "spared"),
    [
        (PARTS.format("operate.status", "databases"), SCHEMA_TOOLS | HTTP | DAEMON),
        (PARTS.format("sync.backfill", "accounts, databases, passes"), SCHEMA_TOOLS | DAEMON),
        ("import service.worker.life", SCHEMA_TOOLS),
    ],
    ids=["status", "sync", "run"],
)
def test_a_command_loads_nothing_that_it_does_not_use(code: str, spared: set[str]) -> None:
    assert not loaded(code) & spared


def test_the_revisions_read_from_names_of_files_are_those_that_alembic_knows() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    assert known_revisions() == tuple(script.revision for script in scripts.walk_revisions())
