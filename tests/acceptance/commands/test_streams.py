"""Standard streams as callers leave them: closed, full, without a reader, in another encoding."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.shell import SPAN, Ended, Shell

if TYPE_CHECKING:
    from collections.abc import Sequence

REDIRECTED = 'eval "exec \\"\\${@:2}\\" $1"'
NO_LOGS = ("2>&-", "2>/dev/full", "<&- 2>&-", "2> >(true)")
NO_DATA = (">&-", ">/dev/full", "<&- >&-")
BAD_MESSAGE = "refund-sync: cannot write to standard output: "
WORDS = "Größe 5 € 🙂"
DISPLAYS = (
    ("status",), ("--json", "status"), ("show", "re_words"), ("--json", "show", "re_words"),
    ("config", "show"), ("completion", "bash"), ("migrate", "--sql"), ("migrate",), ("doctor",),
    ("verify", *SPAN[1:]), ("fetch", "re_words"), ("sync",), ("--help",), ("--version",),
)  # fmt: skip


def start(shell: Shell, redirection: str, *arguments: str, **values: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-c", REDIRECTED, "bash", redirection, sys.executable, "-m", "service", *arguments],
        env=shell.environ("", values), cwd=shell.stage.folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding=values.get("PYTHONIOENCODING", "utf-8"),
    )  # fmt: skip


def redirected(shell: Shell, redirection: str, *arguments: str, **values: str) -> Ended:
    """The command as a shell starts it with *redirection*, such as ``>&-``."""
    process = start(shell, redirection, *arguments, **values)
    out, err = process.communicate(timeout=60)
    return Ended(process.returncode, out, err)


def nobody_reads(shell: Shell, *arguments: str) -> Ended:
    """The command with a pipe as its standard output whose reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "service", *arguments], env=shell.environ("", {}),
        cwd=shell.stage.folder, stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    os.close(writing)
    return Ended(done.returncode, "", done.stderr)


@pytest.fixture
async def filled(shell: Shell) -> Shell:
    """With one refund stored whose description needs more than ASCII and Latin-1."""
    assert shell(*SPAN).code == 0
    await shell.stage.execute(
        "UPDATE refund_sync.refund SET description = $1 WHERE id = $2", WORDS, await a_refund(shell)
    )
    return shell


async def a_refund(shell: Shell) -> str:
    rows = await shell.stage.select("SELECT min(id) AS id FROM refund_sync.refund")
    return str(rows[0]["id"])


def with_id(arguments: Sequence[str], refund_id: str) -> list[str]:
    return [refund_id if argument == "re_words" else argument for argument in arguments]


@pytest.mark.parametrize("redirection", NO_DATA)
async def test_a_result_that_cannot_be_written_is_one_line_and_1_and_the_work_is_done(
    shell: Shell, redirection: str
) -> None:
    ended = redirected(shell, redirection, "-q", *SPAN)
    assert ended.code == 1
    assert ended.err.startswith(BAD_MESSAGE)
    assert ended.err.count("\n") == 1
    assert len(await shell.stage.select("SELECT FROM refund_sync.refund")) == 300
    await shell.stage.assert_equal_to_stripe()


@pytest.mark.parametrize("redirection", NO_LOGS)
async def test_logs_that_cannot_be_written_cost_nothing(shell: Shell, redirection: str) -> None:
    ended = redirected(shell, redirection, "--verbose", *SPAN)
    assert ended.code == 0
    assert ended.out.startswith("backfill: ")
    assert ended.err == ""
    await shell.stage.assert_equal_to_stripe()


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_an_error_that_cannot_be_shown_keeps_its_exit_code(
    shell_without_database: Shell, shell: Shell, redirection: str
) -> None:
    assert redirected(shell, redirection, "show", "re_none") == Ended(11, "", "")
    assert redirected(shell, redirection, "statsu") == Ended(2, "", "")
    assert redirected(shell_without_database, redirection, "status").code == 5


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
async def test_every_command_says_that_its_result_cannot_be_written(
    filled: Shell, redirection: str
) -> None:
    refund_id = await a_refund(filled)
    for arguments in DISPLAYS:
        ended = redirected(filled, redirection, "-q", *with_id(arguments, refund_id))
        assert (ended.code, ended.err.count("\n")) == (1, 1), (arguments, ended)
        assert ended.err.startswith(BAD_MESSAGE), (arguments, ended)


async def test_every_command_ends_with_141_and_no_word_where_nobody_reads(filled: Shell) -> None:
    refund_id = await a_refund(filled)
    for arguments in DISPLAYS:
        ended = nobody_reads(filled, "-q", *with_id(arguments, refund_id))
        assert ended == Ended(141, "", ""), arguments


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
async def test_what_an_encoding_lacks_is_escaped_and_json_stays_json(
    filled: Shell, encoding: str
) -> None:
    refund_id = await a_refund(filled)
    text = redirected(filled, "", "show", refund_id, PYTHONIOENCODING=encoding)
    as_json = redirected(filled, "", "--json", "show", refund_id, PYTHONIOENCODING=encoding)
    plain = filled("--json", "show", refund_id)
    assert (text.code, as_json.code) == (0, 0)
    assert "\\U0001f642" in text.out
    assert as_json.out.isascii()
    assert as_json.reported == plain.reported
    assert WORDS in json.dumps(plain.reported, ensure_ascii=False)


def test_an_argument_that_is_not_text_is_shown_escaped(shell_without_database: Shell) -> None:
    ended = redirected(shell_without_database, "$'cus_\\xff'", "show")
    assert ended.code == 2
    assert "cus_\\udcff is not the id of a refund" in ended.err


def test_a_demo_that_cannot_be_shown_ends_at_once(shell_without_database: Shell) -> None:
    ended = redirected(shell_without_database, ">&-", "demo")
    assert ended.code == 1
    assert ended.err.startswith(BAD_MESSAGE)
    assert ended.err.count("\n") == 1


def test_psql_gets_its_streams_as_they_are_and_never_ours(shell: Shell) -> None:
    ask = ("psql", "--", "-At", "-c", "SELECT 41 + 1")
    for redirection in ("2>&-", "<&-", "<&- 2>&-", "2>/dev/full"):
        assert redirected(shell, redirection, *ask) == Ended(0, "42\n", "")
    for redirection in (">&-", ">/dev/full"):
        ended = redirected(shell, redirection, *ask)
        assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert nobody_reads(shell, *ask) == Ended(141, "", "")
    listed = ("psql", "--", "-c", "\\! exec 3>&1; readlink /proc/self/fd/0 /proc/self/fd/3 >&2")
    ended = redirected(shell, "<&- >&-", *listed)
    assert ended.err.split() == ["/dev/null", "/dev/null"]


async def test_a_daemon_works_without_any_stream(shell: Shell) -> None:
    process = start(shell, "<&- >&- 2>&-", "run", REFUND_SYNC_HTTP="127.0.0.1:0")
    filled = "SELECT FROM refund_sync.run WHERE job = 'fill of history' AND outcome = 'ok'"
    try:
        while not await shell.stage.select(filled):
            assert process.poll() is None
            time.sleep(0.05)
        streams = {Path(f"/proc/{process.pid}/fd/{n}").readlink() for n in range(3)}
        assert streams == {Path(os.devnull)}
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not Path(f"/proc/{process.pid}").exists()
    await shell.stage.assert_equal_to_stripe()
