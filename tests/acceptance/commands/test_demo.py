"""The demo as a newcomer runs it: alone, again, interrupted, with settings of other things around."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.databases import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REFUNDS = 20_000
NEW = 12
INTERRUPTS = 5
FOREIGN = {
    "STRIPE_API_KEY": "sk_live_somebodyelses",
    "STRIPE_API_KEY_FILE": "/nowhere",
    "DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/nothing",
    "REFUND_SYNC_STRIPE_API_BASE": "http://192.0.2.1",
    "REFUND_SYNC_DATA_DIR": "/nowhere",
    "REFUND_SYNC_CONCURRENCY": "-1",
    "REFUND_SYNC_NONSENSE": "1",
    "CREDENTIALS_DIRECTORY": "/nowhere",
    "PGHOST": "nowhere.invalid",
    "PGPORT": "1",
    "PGSSLMODE": "verify-full",
}


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """Where the demo keeps its folder; its name in their surroundings distinguishes our processes from others."""
    with scratch_folder() as folder:
        yield folder
        end(processes_of(folder))


def surroundings(state: Path) -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, **FOREIGN, "STATE_DIRECTORY": str(state), "HOME": str(state)}


def processes_of(state: Path) -> dict[int, str]:
    """Every living process that was started for this folder, however it was detached."""
    found = {}
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            texts = (proc / "cmdline").read_bytes(), (proc / "environ").read_bytes()
            dead = (proc / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            continue
        if any(os.fsencode(state) in text for text in texts) and not dead:
            found[int(proc.name)] = texts[0].replace(b"\0", b" ").decode()
    return found


def end(processes: Mapping[int, str]) -> None:
    for pid in processes:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def assert_nobody_left(state: Path) -> None:
    deadline = time.monotonic() + 10
    while left := processes_of(state):
        if time.monotonic() > deadline:
            end(left)
            raise AssertionError(f"left behind: {left}")
        time.sleep(0.05)


def started(state: Path) -> subprocess.Popen[str]:
    """In a group of its own, so that a signal to the group is what a terminal's Ctrl-C is."""
    return subprocess.Popen(
        [sys.executable, "-m", "service", "demo"],
        env=surroundings(state), cwd=state, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def looked_up(state: Path, *arguments: str) -> str:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(state),
        "REFUND_SYNC_DATA_DIR": str(state / "demo"),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env=environ, cwd=state, text=True, capture_output=True, check=True,
    )  # fmt: skip
    return ran.stdout


def test_it_runs_through_and_leaves_a_database_to_look_into(state: Path) -> None:
    process = started(state)
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert str(state / "demo") in out, "the output does not say where to look further"
    assert_nobody_left(state)
    query = "SELECT count(*), count(*) FILTER (WHERE version > 1) > 0 FROM refund_sync.refund"
    assert looked_up(state, "psql", "--", "-Atc", query) == f"{REFUNDS + NEW}|t\n"
    months = "SELECT count(*) FROM finance.completeness_by_month WHERE complete"
    assert int(looked_up(state, "psql", "--", "-Atc", months)) >= 11
    assert_nobody_left(state)


def test_interrupted_at_any_time_it_leaves_no_process_and_can_be_started_again(state: Path) -> None:
    chance = random.Random(130)
    (state / "demo").mkdir(exist_ok=True)
    old = state / "demo" / "of-the-last-demo"
    old.touch()
    for number in range(INTERRUPTS):
        process = started(state)
        time.sleep(chance.uniform(number * 0.8 + 0.3, number * 1.2 + 0.5))
        assert process.poll() is None, process.communicate()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, (process.returncode, out, err)
        assert "Traceback" not in err
        assert_nobody_left(state)
    assert not old.exists(), "a new demo did not clear the last one"
