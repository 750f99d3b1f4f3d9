"""What the doctor finds: keys, permissions, clocks, databases and allowances."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.acceptance.shell import SPAN, Shell
from tests.acceptance.stage import KEY, days_ago, simulated_stripe


def findings(shell: Shell, expect: int, **values: str) -> dict[str, tuple[str, str]]:
    ended = shell("doctor", "--json", **values)
    assert ended.code == expect, ended.err
    return {f["what"]: (f["level"], f["says"]) for f in ended.reported["findings"]}


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


def test_doctor_status_and_an_estimate_say_the_same_reads_that_are_allowed(shell: Shell) -> None:
    with simulated_stripe(refunds=60, **{"from": days_ago(20), "to": days_ago(1)}) as stripe:
        with_recent = Shell(replace(shell.stage, stripe=stripe))
        assert with_recent("backfill", "--from", days_ago(21)).code == 0
        dry = ("backfill", "--dry-run", "--json")
        counted, before, as_set, status, set_before = with_recent.in_turn(
            [("doctor", "--json"), dry, ("doctor", "--json"), ("status", "--json"), dry],
            [{}, {}, *[{"REFUND_SYNC_READ_ALLOWANCE": "12345"}] * 3],
        )
    assert (before.reported["read_allowance"], set_before.reported["read_allowance"]) == (
        30_000,
        12_345,
    )
    reported, set_reported = (
        {f["what"]: f["says"] for f in ended.reported["findings"]}["read allowance"]
        for ended in (counted, as_set)
    )
    assert reported.startswith(
        "30,000 reads in 30 days, 500 for each of 60 refunds; counted for acct_"
    )
    assert re.search(r": asked \d+, backfill \d+$", reported)
    assert set_reported.startswith("12,345 reads in 30 days, as set; counted for acct_")
    assert status.reported["accounts"][0]["read_allowance"] == 12_345


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
