"""What a person at a terminal meets: bars, colors, quiet, psql, completion, Ctrl-C."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys

from tests.acceptance.shell import COMMANDS, SPAN, Shell, in_a_terminal

COLOR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
SHARE = re.compile(r"\d+%")


def test_quiet_says_nothing_but_the_result_and_logs_go_to_stderr(shell: Shell) -> None:
    loud, quiet = shell.in_turn([SPAN, ("-q", *SPAN)])
    assert json.loads(loud.err.splitlines()[-1])["event"] == "run.ended"
    assert quiet.err == ""
    assert quiet.out.startswith("backfill: ")


def test_a_terminal_gets_a_bar_unless_it_is_unwanted_and_no_color_is_received(shell: Shell) -> None:
    seen = in_a_terminal(shell, *SPAN)
    assert "covering" in seen
    assert COLOR.search(seen)
    assert "covering" not in in_a_terminal(shell, "--no-progress", *SPAN)
    plain = in_a_terminal(shell, *SPAN, NO_COLOR="1")
    assert "covering" in plain
    assert not COLOR.search(plain)


def test_a_bar_measures_what_is_read_and_ends_full_where_all_was_covered(shell: Shell) -> None:
    of_a_part, of_the_rest, of_nothing, of_all = (
        in_a_terminal(shell, *command, NO_COLOR="1")
        for command in (("backfill", "--month", "2025-02"), SPAN, SPAN, ("verify", *SPAN[1:]))
    )
    for seen in (of_a_part, of_the_rest, of_nothing, of_all):
        assert SHARE.findall(seen)[-1] == "100%", seen
    assert "verifying" in of_all


def test_a_reader_that_went_away_ends_it_quietly(shell: Shell) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "service", "migrate", "--sql"], env=shell.environ("", {}),
        cwd=shell.stage.folder, stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_psql_opens_the_database_and_its_exit_code_is_ours(shell: Shell) -> None:
    asked = shell("psql", "--", "-At", "-c", "SELECT count(*) FROM refund_sync.refund")
    assert (asked.code, asked.out) == (0, "0\n")
    assert shell("psql", "-c", "SELECT nonsense").code == 1
    without = shell("psql", PATH="/nowhere")
    assert (without.code, without.err.splitlines()[0]) == (5, "refund-sync: psql was not found")


def test_a_demo_that_somebody_looks_at_is_not_pulled_from_under_them(
    shell_without_database: Shell,
) -> None:
    state = shell_without_database.stage.folder
    (state / "demo").mkdir()
    with (state / "demo" / "users.lock").open("wb") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        ended = shell_without_database("demo", STATE_DIRECTORY=str(state))
    assert (ended.code, ended.out) == (5, "")
    assert "the last demo is still in use" in ended.err
    assert (state / "demo" / "users.lock").exists()


def test_ctrl_c_in_psql_cancels_the_query_and_not_us(shell: Shell) -> None:
    ask = "DO $$BEGIN RAISE NOTICE 'asked'; PERFORM pg_sleep(30); END$$"
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "psql", "--", "-c", ask], env=shell.environ("", {}),
        cwd=shell.stage.folder, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr
    assert "asked" in process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "canceling statement due to user request" in said


def test_completion_is_a_script_that_knows_the_commands(shell_without_database: Shell) -> None:
    registered = {
        "bash": "complete -F _refund_sync refund-sync",
        "zsh": "#compdef refund-sync",
        "fish": "complete -c refund-sync",
    }
    reported = shell_without_database.in_turn([("completion", name) for name in registered])
    for (name, line), ended in zip(registered.items(), reported, strict=True):
        assert (ended.code, ended.err) == (0, "")
        assert line in ended.out
        assert all(command in ended.out for command in COMMANDS)
        if binary := shutil.which(name):
            subprocess.run([binary, "-n"], input=ended.out, text=True, check=True)


def test_bash_completes_what_was_begun(shell_without_database: Shell) -> None:
    begun = {"ba": "backfill", "backfill --mo": "--month", "status --ch": "--check"}
    script = shell_without_database("completion", "bash").out + "".join(
        f"\nCOMP_WORDS=(refund-sync {typed}); COMP_CWORD={len(typed.split())}; _refund_sync;"
        ' echo "${COMPREPLY[*]}"'
        for typed in begun
    )
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*begun.values()]


def test_help_loads_nothing_that_only_work_needs() -> None:
    script = (
        "import sys\n"
        "from service.cli import main\n"
        "sys.argv = ['refund-sync', '--help']\n"
        "main()\n"
        "heavy = {'aiohttp', 'asyncpg', 'sqlalchemy', 'alembic', 'pydantic', 'apscheduler', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
