"""Commands as they are typed: what they print and where, their errors, hints and exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.stage import KEY, SINCE, UNTIL, Stage, Stripe, days_ago, simulated_stripe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.databases import Databases

COMMANDS = (
    "backfill", "cancel", "completion", "config", "demo", "doctor", "fetch", "migrate", "psql", "run",
    "show", "status", "sync", "verify",
)  # fmt: skip
SPAN = ("backfill", "--from", SINCE, "--to", UNTIL)
NOWHERE = "postgresql://finance:hunter2hunter@127.0.0.1:1/refunds"
IN_TURN = """
import contextlib, io, json, os, sys
from service.cli import main
told = []
given = dict(os.environ)
for arguments, values in json.load(sys.stdin):
    os.environ.clear()
    os.environ.update(given | values)
    code, out, err = 0, io.StringIO(), io.StringIO()
    sys.argv = ["refund-sync", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    told.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(told))
"""
COLOR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
SHARE = re.compile(r"\d+%")


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def told(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """A place to type commands in; *unset* and *values* change the environment."""

    stage: Stage

    def __call__(self, *arguments: str, unset: str = "", **values: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "service", *arguments], env=self.environ(unset, values),
            cwd=self.stage.folder, capture_output=True, text=True, check=False, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert KEY not in done.stdout + done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def in_turn(
        self,
        commands: Sequence[Sequence[str]],
        settings: Sequence[dict[str, str]] | None = None,
        unset: str = "",
    ) -> list[Ended]:
        """Several commands, each with settings of its own, one after the other in one process."""
        asked = list(zip(commands, settings or [{}] * len(commands), strict=True))
        done = subprocess.run(
            [sys.executable, "-c", IN_TURN], env=self.environ(unset, {}), cwd=self.stage.folder,
            input=json.dumps(asked), capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert KEY not in done.stdout
        return [Ended(*told) for told in json.loads(done.stdout)]

    def environ(self, unset: str, values: dict[str, str]) -> dict[str, str]:
        return {k: v for k, v in (self.stage.environ() | values).items() if k != unset}


@pytest.fixture(scope="module")
def stripe() -> Iterator[Stripe]:
    with simulated_stripe(refunds=300) as stripe:
        yield stripe


@pytest.fixture
def shell(stripe: Stripe, open_folder: Path, database: str) -> Iterator[Shell]:
    yield Shell(Stage(stripe, open_folder, database))
    stripe.heal()


@pytest.fixture
def shell_without_database(stripe: Stripe, open_folder: Path) -> Shell:
    return Shell(Stage(stripe, open_folder, NOWHERE))


def in_a_terminal(shell: Shell, *arguments: str, **values: str) -> str:
    """What a person sees: standard output and error are the same terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "service", *arguments],
        env=shell.environ("", {"TERM": "xterm-256color", "COLUMNS": "100", **values}),
        cwd=shell.stage.folder, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 4096):
            seen += piece
    except OSError:  # how Linux says that the other side has closed
        pass
    finally:
        os.close(ours)
    assert process.wait(timeout=60) == 0
    return seen.decode()


def test_every_command_explains_itself(shell_without_database: Shell) -> None:
    asked = [("--help",), *((name, "--help") for name in COMMANDS)]
    listing, *helps = shell_without_database.in_turn(asked)
    assert re.findall(r"^│ ([a-z]+) ", listing.out, flags=re.MULTILINE) == sorted(COMMANDS)
    for name, ended in zip(COMMANDS, helps, strict=True):
        assert (ended.code, ended.err) == (0, "")
        assert f"Usage: refund-sync {name}" in ended.out
        assert "--json" in ended.out


def test_without_a_command_help_points_at_the_demo(shell_without_database: Shell) -> None:
    bare, version = shell_without_database.in_turn([(), ("--version",)])
    assert bare.code == 0
    assert "refund-sync demo" in bare.out
    assert version.out.startswith("refund-sync 0.")


def test_what_was_typed_wrong_ends_with_2_and_a_hint(shell_without_database: Shell) -> None:
    expected = {
        ("statsu",): ('unknown command "statsu". Did you mean "status"?', "refund-sync --help"),
        ("backfill", "--form", "2026"): (
            "unknown option: --form. Did you mean --from?",
            "refund-sync backfill --help",
        ),
        ("backfill", "2026-01"): ("not understood: 2026-01", "refund-sync backfill --help"),
        ("status", "--config"): ("parameter --config requires an argument", "--help"),
        ("show",): ('command "show" parameter REFUND_ID requires', "refund-sync show --help"),
        ("fetch",): ("fetch needs an id", "refund-sync fetch re_"),
        ("sync", f"--api-key={KEY}"): ("unknown option: --api-key", "set STRIPE_API_KEY"),
        ("backfill", "--month", "2026-13"): ("--month is not a month: '2026-13'", "2026-01"),
        ("backfill", "--month", "2026-01", "--to", "2026"): ("--month does not go with", "Give"),
        ("backfill", "--from", "yesterday"): ("--from is not a date or an instant", "2026-01-31"),
        ("backfill", "--from", "2025-02-01", "--to", "2025-02-01"): ("the span is empty", ""),
        ("backfill", "--from", "2099-01-01"): ("the span lies in the future", ""),
        ("backfill", "--month", "2099-01", "--dry-run"): ("the span lies in the future", ""),
    }
    told = shell_without_database.in_turn([*expected])
    for (says, hint), ended in zip(expected.values(), told, strict=True):
        message, _, rest = ended.err.partition("\n")
        assert message.startswith(f"refund-sync: {says}")
        assert hint in rest
        assert (ended.code, ended.out) == (2, "")
    assert shell_without_database("statsu") == told[0]


def test_a_setting_that_is_wrong_ends_with_3_naming_it(shell_without_database: Shell) -> None:
    secret_file = shell_without_database.stage.folder / "key"
    expected = {
        "REFUND_SYNC_CONCURENCY": ("3", "did you mean REFUND_SYNC_CONCURRENCY?"),
        "REFUND_SYNC_CONCURRENCY": ("many", "is not a whole number from 1 to 256"),
        "STRIPE_API_KEY_FILE": (str(secret_file), "STRIPE_API_KEY_FILE are both set"),
        "REFUND_SYNC_STRIPE_API_BASE": ("https://api.strip.com", "--allow-api-base"),
    }
    told = shell_without_database.in_turn(
        [("config", "show")] * len(expected), [{n: value} for n, (value, _) in expected.items()]
    )
    for (name, (_, says)), ended in zip(expected.items(), told, strict=True):
        assert (ended.code, ended.out) == (3, "")
        assert name in ended.err
        assert says in ended.err


def test_settings_are_shown_with_their_origin_and_without_secrets(
    shell_without_database: Shell,
) -> None:
    config = shell_without_database.stage.folder / "other.toml"
    config.write_text("drain_s = 7\n")
    before, after, text = shell_without_database.in_turn(
        [
            ("--json", "--config", str(config), "config", "show"),
            ("config", "show", "--config", str(config), "--json"),
            ("config", "show"),
        ]
    )
    assert before.told == after.told
    told = {row["name"]: (row["value"], row["origin"]) for row in before.told["settings"]}
    assert told["STRIPE_API_KEY"] == ("[set]", "environment")
    assert told["DATABASE_URL"] == ("[set]", "environment")
    assert told["REFUND_SYNC_DRAIN_S"] == (7.0, str(config))
    assert told["REFUND_SYNC_HYDRATE"] == ("expand", "default")
    assert "REFUND_SYNC_DRAIN_S" in text.out
    assert "hunter2" not in text.out + before.out


def test_only_what_reads_stripe_needs_a_key(shell: Shell) -> None:
    commands = [("sync",), ("fetch", "re_1"), ("status",), ("migrate",)]
    told = shell.in_turn(commands, unset="STRIPE_API_KEY")
    assert [ended.code for ended in told] == [3, 3, 0, 0]
    assert "STRIPE_API_KEY" in told[0].err
    assert "refund-sync demo" in told[0].err


def test_a_key_that_stripe_refuses_ends_with_4(shell: Shell) -> None:
    shell.stage.stripe.faults(unauthorized=True)
    ended = shell("sync")
    assert ended.code == 4
    assert "STRIPE_API_KEY: it is wrong, expired or revoked" in ended.err


def test_a_missing_permission_ends_with_4_by_its_name_in_the_dashboard(shell: Shell) -> None:
    shell.stage.stripe.faults(permissions_removed=["rak_charge_read"])
    ended = shell("sync")
    assert ended.code == 4
    assert "Charges and Refunds: Read" in ended.err


def test_stripe_out_of_reach_ends_with_6_after_the_deadline(shell: Shell) -> None:
    ended = shell(
        "sync", REFUND_SYNC_STRIPE_API_BASE="http://127.0.0.1:1", REFUND_SYNC_DEADLINE_S="1"
    )
    assert (ended.code, ended.out) == (6, "")
    assert "Stripe gave no good answer" in ended.err


def test_a_database_out_of_reach_ends_with_5_naming_the_setting_without_its_password(
    shell_without_database: Shell,
) -> None:
    addresses = (NOWHERE, "nonsense", "postgresql://finance:hunter2hunter@[bad/refunds")
    for ended in shell_without_database.in_turn(
        [("status",)] * 3, [{"DATABASE_URL": dsn} for dsn in addresses]
    ):
        assert (ended.code, ended.out) == (5, "")
        assert "DATABASE_URL" in ended.err
        assert "hunter2" not in ended.err


async def test_a_schema_that_is_absent_or_ahead_ends_with_5_and_only_migrate_changes_it(
    databases: Databases, stripe: Stripe, open_folder: Path
) -> None:
    stage = Stage(stripe, open_folder, await databases.empty())
    shell = Shell(stage)
    absent, still_absent, migrated, empty = shell.in_turn(
        [("status",), ("sync",), ("migrate",), ("status", "--json")]
    )
    assert (absent.code, still_absent.code, migrated.code) == (5, 5, 0)
    assert "absent" in absent.err
    assert "refund-sync migrate" in absent.err
    assert empty.told["accounts"] == []
    async with stage.connection() as connection:
        await connection.execute("UPDATE refund_sync.alembic_version SET version_num = '9999'")
    for ahead in shell.in_turn([("status",), ("sync",), ("migrate",)]):
        assert ahead.code == 5
        assert "ahead: at revision 9999" in ahead.err


def test_an_id_that_is_unknown_ends_with_11(shell: Shell) -> None:
    shown, fetched, as_json = shell.in_turn(
        [("show", "re_unknown"), ("fetch", "re_unknown"), ("fetch", "re_unknown", "--json")]
    )
    assert (shown.code, shown.out) == (11, "")
    assert "refund-sync fetch re_unknown" in shown.err
    assert (fetched.code, fetched.out, as_json.code) == (11, "", 11)
    assert as_json.told == {"refunds": [], "not_found": ["re_unknown"]}
    assert "Stripe does not know: re_unknown" in fetched.err


def test_whatever_has_data_has_it_as_one_json_document(shell: Shell) -> None:
    known = shell.stage.stripe.truth()[0]["id"]
    covered, dry, synced, fetched, shown, migrated, text = shell.in_turn(
        [
            ("--json", *SPAN),
            ("--json", "backfill", "--dry-run"),
            ("--json", "sync"),
            ("--json", "fetch", known),
            ("--json", "show", known),
            ("--json", "migrate"),
            ("show", known),
        ]
    )
    assert covered.told["inserted"] == len(shell.stage.stripe.truth())
    assert dry.told["gaps"]
    assert synced.told["job"] == "sync"
    assert fetched.told["refunds"][0]["refund"]["id"] == known
    assert shown.told["refunds"][0]["refund"]["id"] == known
    assert migrated.told["from"] == migrated.told["to"]
    assert text.out.startswith(known)


def test_status_asks_nothing_of_stripe(shell: Shell) -> None:
    assert shell(*SPAN).code == 0
    asked = shell.stage.stripe.stats()["requests"]
    status, checked = shell.in_turn([("status", "--json"), ("status", "--check")])
    (account,) = status.told["accounts"]
    assert account["refunds"] == len(shell.stage.stripe.truth())
    assert account["gaps"]
    assert (status.code, checked.code) == (0, 7)
    assert shell.stage.stripe.stats()["requests"] == asked


def test_a_dry_run_writes_nothing_and_makes_no_folder(stripe: Stripe, open_folder: Path) -> None:
    ended = Shell(Stage(stripe, open_folder))("backfill", "--month", "2025-03", "--dry-run")
    assert ended.code == 0
    assert "estimated: " in ended.out
    assert [*open_folder.iterdir()] == []


def test_quiet_says_nothing_but_the_result_and_logs_go_to_stderr(shell: Shell) -> None:
    loud, quiet = shell.in_turn([SPAN, ("-q", *SPAN)])
    assert json.loads(loud.err.splitlines()[-1])["event"] == "run.ended"
    assert quiet.err == ""
    assert quiet.out.startswith("backfill: ")


def test_a_terminal_gets_a_bar_unless_it_is_unwanted_and_no_color_is_heard(shell: Shell) -> None:
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


def findings(shell: Shell, expect: int, **values: str) -> dict[str, tuple[str, str]]:
    ended = shell("doctor", "--json", **values)
    assert ended.code == expect, ended.err
    return {f["what"]: (f["level"], f["says"]) for f in ended.told["findings"]}


def test_doctor_names_what_is_granted(shell: Shell) -> None:
    found = findings(shell, 0)
    assert {level for level, _ in found.values()} <= {"ok", "warning"}
    assert found["key"] == ("ok", "restricted, test mode")
    assert found["refunds, charges"] == ("ok", "Charges and Refunds: Read: granted")
    assert found["ledger lines"] == ("ok", "Balance Transaction Sources: Read: granted")
    assert found["events"] == ("ok", "Events: Read: granted")
    assert found["clock"][0] == "ok"
    assert found["account"] == ("ok", "acct_1Simulated")
    assert found["database"][1].startswith("yours, Postgres ")
    assert found["schema"][1].endswith(", current")
    assert found["read allowance"][1] == "10,000 reads in 30 days, the least Stripe allows"


def test_doctor_tells_the_reads_that_are_allowed_and_those_that_were_counted(shell: Shell) -> None:
    with simulated_stripe(refunds=60, **{"from": days_ago(20), "to": days_ago(1)}) as stripe:
        with_recent = Shell(replace(shell.stage, stripe=stripe))
        assert with_recent("backfill", "--from", days_ago(21)).code == 0
        counted, as_set, status = with_recent.in_turn(
            [("doctor", "--json"), ("doctor", "--json"), ("status", "--json")],
            [{}, *[{"REFUND_SYNC_READ_ALLOWANCE": "12345"}] * 2],
        )
    told, set_told = (
        {f["what"]: f["says"] for f in ended.told["findings"]}["read allowance"]
        for ended in (counted, as_set)
    )
    assert told.startswith("30,000 reads in 30 days, 500 for each of 60 refunds; counted for acct_")
    assert re.search(r": asked \d+, backfill \d+$", told)
    assert set_told.startswith("12,345 reads in 30 days, as set; counted for acct_")
    assert status.told["accounts"][0]["read_allowance"] == 12_345


def test_doctor_names_each_permission_that_is_missing(shell: Shell) -> None:
    needed = {
        "refunds, charges": ("rak_charge_read", "Charges and Refunds: Read"),
        "ledger lines": (
            "rak_balance_transaction_source_read",
            "Balance Transaction Sources: Read",
        ),
    }
    removed = [*(rak for rak, _ in needed.values()), "rak_event_read"]
    shell.stage.stripe.faults(permissions_removed=removed)
    found = findings(shell, 4)
    for what, (_, name) in needed.items():
        assert found.pop(what) == ("error", f"{name}: missing")
    assert found["events"] == ("warning", "Events: Read: missing")
    assert "error" not in {level for level, _ in found.values()}


def test_doctor_says_once_that_the_key_is_refused_and_goes_on_to_the_database(shell: Shell) -> None:
    shell.stage.stripe.faults(unauthorized=True)
    text = shell("doctor").out
    assert text.count("Invalid API Key") == 1
    assert KEY[-4:] not in text
    assert "Postgres" in text


def test_doctor_warns_of_a_live_secret_key_and_of_clocks_apart(shell: Shell) -> None:
    shell.stage.stripe.faults(wrong_date_s=120)
    found = findings(shell, 0, STRIPE_API_KEY="sk_live_0000000000000000")
    assert found["key"][0] == "warning"
    assert "sk_live_" in found["key"][1]
    assert found["clock"][0] == "warning"
    assert "behind Stripe" in found["clock"][1]


async def test_doctor_knows_whose_database_it_is_and_what_it_holds(shell: Shell) -> None:
    assert shell(*SPAN).code == 0
    async with shell.stage.connection() as connection:
        await connection.execute("UPDATE refund_sync.refund SET currency = 'xxx'")
        await connection.execute("UPDATE refund_sync.account SET livemode = true")
    found = findings(shell, 3)
    assert found["currencies"] == ("warning", "unknown to us: xxx")
    assert found["mode"] == (
        "error",
        "the key is of test mode, the database holds live mode refunds",
    )
    assert found["role"] == ("warning", "postgres is a superuser")


async def test_doctor_says_that_a_role_may_not_write(shell: Shell) -> None:
    async with shell.stage.connection() as connection:
        await connection.execute("CREATE ROLE reader LOGIN")
        await connection.execute("GRANT USAGE ON SCHEMA refund_sync TO reader")
        await connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA refund_sync TO reader")
        dsn = str(shell.stage.dsn).replace("//postgres@", "//reader@")
        try:
            found = findings(shell, 5, DATABASE_URL=dsn)
        finally:
            await connection.execute("DROP OWNED BY reader")
            await connection.execute("DROP ROLE reader")
    assert found["role"] == ("error", "reader may not write here")


def test_psql_opens_the_database_and_its_exit_code_is_ours(shell: Shell) -> None:
    asked = shell("psql", "--", "-At", "-c", "SELECT count(*) FROM refund_sync.refund")
    assert (asked.code, asked.out) == (0, "0\n")
    assert shell("psql", "-c", "SELECT nonsense").code == 1


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
    told = shell_without_database.in_turn([("completion", name) for name in registered])
    for (name, line), ended in zip(registered.items(), told, strict=True):
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
