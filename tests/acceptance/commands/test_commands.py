"""Commands as they are typed: what they print and where, their errors, hints and exit codes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.acceptance.shell import COMMANDS, NOWHERE, SPAN, Shell
from tests.acceptance.stage import KEY, SINCE, Stage, Stripe, days_ago

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import Databases


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
        ("fetch", "re_1", "cus_1"): ("cus_1 is not the id of a refund", "re_ pyr_"),
        ("fetch", ""): ("an id is empty", "(pi_)"),
        ("show", "ch_1"): ("ch_1 is not the id of a refund", "refund-sync fetch ch_1"),
        ("show", ""): ("an id is empty", "re_ pyr_"),
        ("cancel", "pi_1", "--yes"): ("pi_1 is not the id of a refund", "re_ pyr_"),
        ("sync", f"--api-key={KEY}"): ("unknown option: --api-key", "set STRIPE_API_KEY"),
        ("backfill", "--month", "2026-13"): ("--month is not a month: '2026-13'", "2026-01"),
        ("backfill", "--month", "2026-01", "--to", "2026"): ("--month does not go with", "Give"),
        ("backfill", "--from", "yesterday"): ("--from is not a date or an instant", "2026-01-31"),
        ("backfill", "--from", "2025-02-01", "--to", "2025-02-01"): ("the span is empty", ""),
        ("backfill", "--from", "2099-01-01"): ("the span lies in the future", ""),
        ("backfill", "--month", "2099-01", "--dry-run"): ("the span lies in the future", ""),
    }
    reported = shell_without_database.in_turn([*expected])
    for (says, hint), ended in zip(expected.values(), reported, strict=True):
        message, _, rest = ended.err.partition("\n")
        assert message.startswith(f"refund-sync: {says}")
        assert hint in rest
        assert (ended.code, ended.out) == (2, "")
    assert shell_without_database("statsu") == reported[0]


def test_a_setting_that_is_wrong_ends_with_3_naming_it(shell_without_database: Shell) -> None:
    secret_file = shell_without_database.stage.folder / "key"
    expected = {
        "REFUND_SYNC_CONCURENCY": ("3", "did you mean REFUND_SYNC_CONCURRENCY?"),
        "REFUND_SYNC_CONCURRENCY": ("many", "is not a whole number from 1 to 256"),
        "STRIPE_API_KEY_FILE": (str(secret_file), "STRIPE_API_KEY_FILE are both set"),
        "REFUND_SYNC_STRIPE_API_BASE": ("https://api.strip.com", "--allow-api-base"),
    }
    reported = shell_without_database.in_turn(
        [("config", "show")] * len(expected), [{n: value} for n, (value, _) in expected.items()]
    )
    for (name, (_, says)), ended in zip(expected.items(), reported, strict=True):
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
    assert before.reported == after.reported
    reported = {row["name"]: (row["value"], row["origin"]) for row in before.reported["settings"]}
    assert reported["STRIPE_API_KEY"] == ("[set]", "environment")
    assert reported["DATABASE_URL"] == ("[set]", "environment")
    assert reported["REFUND_SYNC_DRAIN_S"] == (7.0, str(config))
    assert reported["REFUND_SYNC_HYDRATE"] == ("expand", "default")
    assert "REFUND_SYNC_DRAIN_S" in text.out
    assert "hunter2" not in text.out + before.out


def test_only_what_reads_stripe_needs_a_key(shell: Shell) -> None:
    commands = [("sync",), ("fetch", "re_1"), ("status",), ("migrate",)]
    reported = shell.in_turn(commands, unset="STRIPE_API_KEY")
    assert [ended.code for ended in reported] == [3, 3, 0, 0]
    assert "STRIPE_API_KEY" in reported[0].err
    assert "refund-sync demo" in reported[0].err


def test_without_a_key_no_database_is_made_for_what_needs_one(
    shell_without_database: Shell,
) -> None:
    commands = [SPAN, ("sync",), ("fetch", "re_1"), (*SPAN, "--dry-run"), ("run",)]
    folder = shell_without_database.stage.folder
    for ended in shell_without_database.in_turn(
        commands, [{"DATABASE_URL": ""}] * len(commands), unset="STRIPE_API_KEY"
    ):
        assert ended.code == 3
        assert "no Stripe key is set" in ended.err
    assert [*folder.iterdir()] == []


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
    assert "Stripe was not reached" in ended.err


def test_an_address_out_of_reach_or_malformed_is_named_by_its_setting_without_its_password(
    shell_without_database: Shell,
) -> None:
    addresses = (NOWHERE, "nonsense", "postgresql://finance:hunter2hunter@[bad/refunds")
    ended_so = shell_without_database.in_turn(
        [("status",)] * 3, [{"DATABASE_URL": dsn} for dsn in addresses]
    )
    for ended, code in zip(ended_so, (5, 3, 3), strict=True):
        assert (ended.code, ended.out) == (code, "")
        assert "DATABASE_URL" in ended.err
        assert "hunter2" not in ended.err


async def test_a_schema_that_is_absent_or_ahead_ends_with_5_and_only_migrate_changes_it(
    databases: Databases, stripe: Stripe, open_folder: Path
) -> None:
    stage = Stage(stripe, open_folder, await databases.empty())
    shell = Shell(stage)
    absent, still_absent, migrated, empty, checked = shell.in_turn(
        [("status",), ("sync",), ("migrate",), ("status", "--json"), ("status", "--check")]
    )
    assert (absent.code, still_absent.code, migrated.code) == (5, 5, 0)
    assert "absent" in absent.err
    assert "refund-sync migrate" in absent.err
    assert empty.reported["accounts"] == []
    assert (checked.code, "nothing was synced yet" in checked.err) == (7, True)
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
    assert as_json.reported == {"refunds": [], "not_found": ["re_unknown"]}
    assert "Stripe does not know: re_unknown" in fetched.err


def test_no_matter_what_has_data_has_it_as_one_json_document(shell: Shell) -> None:
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
    assert covered.reported["inserted"] == len(shell.stage.stripe.truth())
    assert dry.reported["gaps"]
    assert synced.reported["job"] == "sync"
    assert fetched.reported["refunds"][0]["refund"]["id"] == known
    assert shown.reported["refunds"][0]["refund"]["id"] == known
    assert migrated.reported["from"] == migrated.reported["to"]
    assert text.out.startswith(known)


def test_status_asks_nothing_of_stripe(shell: Shell) -> None:
    assert shell(*SPAN).code == 0
    asked = shell.stage.stripe.stats()["requests"]
    status, checked = shell.in_turn([("status", "--json"), ("status", "--check")])
    (account,) = status.reported["accounts"]
    assert account["refunds"] == len(shell.stage.stripe.truth())
    assert account["gaps"]
    assert (status.code, checked.code) == (0, 7)
    assert shell.stage.stripe.stats()["requests"] == asked


async def test_status_checks_what_is_set_to_be_wanted_and_that_somebody_reads(shell: Shell) -> None:
    earlier, later = {"REFUND_SYNC_SINCE": SINCE}, {"REFUND_SYNC_SINCE": days_ago(3)}
    backfilled, gaps, synced, none = shell.in_turn(
        [
            ("backfill", "--from", days_ago(3)),
            ("status", "--check"),
            ("sync",),
            ("status", "--check"),
        ],
        [earlier, {}, later, {}],
    )
    assert (backfilled.code, gaps.code, synced.code) == (0, 7, 0)
    assert "gaps: " in gaps.err
    assert (none.code, none.err) == (0, "")
    async with shell.stage.connection() as connection:
        await connection.execute(
            "UPDATE refund_sync.account SET settled_until = now() - interval '25 hours'"
        )
    silent = shell("status", "--check")
    assert (silent.code, "nothing was read for a day" in silent.err) == (7, True)


def test_a_dry_run_writes_nothing_and_makes_no_folder(stripe: Stripe, open_folder: Path) -> None:
    ended = Shell(Stage(stripe, open_folder))("backfill", "--month", "2025-03", "--dry-run")
    assert ended.code == 0
    assert "estimated: " in ended.out
    assert "as dense as its newest page" in ended.out
    assert [*open_folder.iterdir()] == []
