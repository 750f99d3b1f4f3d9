"""What commands say to people: where they look further, how far a month goes, what is known of a refund."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.cli.operate.demo import completeness, invocation
from service.cli.operate.status import sentence
from service.cli.progress import GOES_ON, NOTHING_YET, Standing, what_remains
from service.cli.sync.fetch import changes_by_part, check_refund_id, text_of
from service.cli.text import money, since, span, when, when_at_latest
from service.domain.batch import Written
from service.domain.coverage.span import Span
from service.domain.errors import DatabaseAwayError, UsageError
from service.ports.runs import Progress

if TYPE_CHECKING:
    from pathlib import Path


def a_script(folder: Path) -> Path:
    script = folder / ".venv" / "bin" / "refund-sync"
    script.parent.mkdir(parents=True)
    script.touch()
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("argv0", ["refund-sync", "service/__main__.py"])
def test_the_demo_names_a_command_that_works_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv0: str
) -> None:
    script = a_script(tmp_path)
    python = str(script.with_name("python"))
    started = str(script) if argv0 == "refund-sync" else str(tmp_path / argv0)
    monkeypatch.setenv("PATH", os.defpath)
    assert invocation(started, python, tmp_path) == ".venv/bin/refund-sync"
    assert invocation(started, python, script.parent) == "./refund-sync"
    assert invocation(started, python, tmp_path / "elsewhere") == str(script)
    monkeypatch.setenv("PATH", str(script.parent))
    assert invocation(started, python, tmp_path) == "refund-sync"
    monkeypatch.setenv("PATH", str(a_script(tmp_path / "another").parent))
    assert invocation(started, python, tmp_path) == ".venv/bin/refund-sync"


def test_without_a_script_the_demo_names_the_module(tmp_path: Path) -> None:
    started = str(tmp_path / "service" / "__main__.py")
    python = str(tmp_path / "bin" / "python")
    assert invocation(started, python, tmp_path) == "bin/python -m service"


def test_the_month_in_which_history_begins_says_so() -> None:
    def said(month: date, since: date, *, complete: bool = False) -> str:
        return completeness({"complete": complete, "month": month}, since)

    assert said(date(2025, 11, 1), date(2025, 11, 25)) == "no, it begins 2025-11-25"
    assert said(date(2025, 12, 1), date(2025, 11, 25), complete=True) == "yes"
    assert said(date(2025, 11, 1), date(2025, 11, 1)) == "no"
    now = datetime.now(UTC).date().replace(day=1)
    assert said(now, now - timedelta(days=365)) == "no, it is not over"


def a_known_refund(**changes: Any) -> dict[str, Any]:
    return {
        "account_id": "acct_1",
        "covered": True,
        "refund": {
            "id": "re_1", "status": "failed", "amount_minor": 100, "currency": "usd",
            "created_at": "2026-01-01T01:19:58Z", "observed_at": "2026-01-02T00:00:00Z",
        },
        "charge_link": {"charge_id": "ch_1", "failure_balance_transaction_id": "txn_2"},
        "destination_details": None,
        "balance_transactions": [],
        "versions": [
            {"version": 2, "observed_at": "2026-01-02T00:00:00Z", "source": "hint", "changes": changes}
        ],
    }  # fmt: skip


def test_what_is_known_of_a_refund_stands_in_two_columns() -> None:
    lines = text_of("re_1", a_known_refund(status=["pending", "failed"])).splitlines()
    account, charge, failure = (
        next(line for line in lines if label in line)
        for label in ("account", "charge_id", "failure_balance_transaction_id")
    )
    assert lines[0] == "re_1  failed  1.00 usd"
    assert any(line.endswith("2026-01-01 01:19 UTC  in a covered second") for line in lines)
    column = failure.index("txn_2")
    assert account.index("acct_1") == charge.index("ch_1") == column
    assert lines[-1] == " " * (column + 2) + "status: pending -> failed"


def test_what_waits_in_quarantine_is_reported_in_the_same_columns() -> None:
    waiting = {
        "error": "Expected `int`, got `str`", "created_at": "2026-01-01T00:00:00Z", "seen_at": "2026-01-02T00:00:00Z",
        "resolved_at": None, "payload": '{"amount": "12.50"}',
    }  # fmt: skip
    assert text_of("re_2", {"account_id": "acct_1", "quarantine": [waiting]}).splitlines() == [
        "re_2  in quarantine",
        "  account      acct_1",
        "  not decoded  Expected `int`, got `str`",
        "               seen 2026-01-02 00:00 UTC, created 2026-01-01 00:00 UTC",
        "               not resolved yet",
    ]
    known = a_known_refund() | {"quarantine": [waiting | {"resolved_at": "2026-01-03T12:00:00Z"}]}
    assert text_of("re_1", known).endswith("resolved 2026-01-03 12:00 UTC")


@pytest.mark.parametrize(
    "refund_id", ["", " ", "ch_1", "py_1", "pi_1", "cus_1", "card_1", "txn_1", "evt_1", "po_1"]
)
def test_what_is_known_to_be_no_refund_is_refused_before_anything_is_opened(refund_id: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_refund_id(refund_id)
    assert "re_ pyr_" in refused.value.hint


@pytest.mark.parametrize("refund_id", ["re_1", "pyr_1", "x" * 255, "Ωmega/../refund?", "rfnd_1"])
def test_an_id_of_a_prefix_that_nobody_knows_may_be_a_refund(refund_id: str) -> None:
    check_refund_id(refund_id)


def test_parts_of_destination_details_are_reported_once_and_unknown_ones_by_name() -> None:
    before = {"reference_status": "pending", "type": "refund", "later": 1}
    after = {"reference_status": "available", "type": "refund", "later": 2, "reference": "7"}
    reported = changes_by_part(
        {
            "reference": [None, "7"],
            "reference_status": ["pending", "available"],
            "destination_details": [before, after],
        }
    )
    assert reported == {
        "reference": [None, "7"],
        "reference_status": ["pending", "available"],
        "destination_details.later": [1, 2],
    }
    appeared = changes_by_part({"destination_details": [None, {"reference": "7"}]})
    assert appeared == {"destination_details.reference": [None, "7"]}


def test_a_command_that_is_stopped_says_in_figures_what_remains() -> None:
    progress = Progress(written=Written(inserted=12_000, changed=300, unchanged=5))
    span = Span(0, 1000)
    assert what_remains(progress, span, 419).startswith("12,300 refunds stored; 41 % of the span")
    assert "99 % of the span" in what_remains(progress, span, 999)
    assert "all of the span" in what_remains(progress, span, 1000)


async def test_where_the_database_cannot_be_asked_a_stopped_command_says_so_without_figures() -> (
    None
):
    async def away() -> list[Span]:
        raise DatabaseAwayError("the database is away")

    standing = Standing()
    assert str(standing) == NOTHING_YET
    with pytest.raises(asyncio.CancelledError):
        async with standing.of(Progress(), Span(0, 10), away):
            raise asyncio.CancelledError
    assert str(standing) == GOES_ON


NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def an_account(**facts: Any) -> dict[str, Any]:
    return {
        "wanted": ["2025-11-26T00:00:00+00:00", "2026-11-26T11:50:00+00:00"],
        "complete_through": "2026-11-26T11:50:00+00:00", "current_from": "2025-11-26T00:00:00+00:00",
        "gaps": [], "quarantined": 0,
    } | facts  # fmt: skip


def test_status_begins_with_what_can_be_relied_on() -> None:
    gap = ["2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"]
    ends = {"complete_through": gap[0], "current_from": gap[1]}
    nothing = "Nothing is complete yet; read it: refund-sync sync"
    said = {
        "Complete from 26 Nov 2025 until 10 minutes ago; nothing is missing.": an_account(),
        "Complete from 26 Nov 2025 until 10 minutes ago; 2 could not be decoded.": an_account(quarantined=2),
        "Complete from 26 Nov 2025 until 2026-01-01 00:00 UTC and from 2026-02-01 00:00 UTC until"
        " 10 minutes ago; 1 gap is missing: refund-sync sync": an_account(gaps=[gap], **ends),
        "Complete from 2026-02-01 00:00 UTC until 10 minutes ago; 1 could not be decoded, 2 gaps are"
        " missing: refund-sync sync": an_account(
            gaps=[gap, gap], quarantined=1, **ends | {"complete_through": None}
        ),
    }  # fmt: skip
    assert [sentence(account, NOW) for account in said.values()] == list(said)
    assert sentence(an_account(wanted=None), NOW) == nothing
    assert sentence(an_account(complete_through=None, current_from=None), NOW) == nothing


def test_amounts_are_in_major_units_or_said_not_to_be() -> None:
    assert [money(734_600, code) for code in ("usd", "jpy", "kwd", "xyz")] == [
        "7,346.00 usd", "734,600 jpy", "734.600 kwd", "734,600 xyz in minor units",
    ]  # fmt: skip


def test_instants_are_rounded_so_that_nothing_is_said_to_be_there_too_early() -> None:
    assert when("2026-01-01T01:19:40+00:00") == "2026-01-01 01:19 UTC"
    assert when_at_latest("2026-01-01T01:19:40+00:00") == "2026-01-01 01:20 UTC"
    assert when_at_latest("2026-01-01T01:19:00+00:00") == "2026-01-01 01:19 UTC"
    gap = ["2026-01-01T01:19:40+00:00", "2026-01-01T01:19:41+00:00"]
    assert span(gap) == "2026-01-01 01:19 UTC to 2026-01-01 01:20 UTC"
    ahead = (NOW + timedelta(seconds=5)).isoformat()
    assert since(ahead, NOW) == "less than a minute ago"
    assert since((NOW - timedelta(hours=3)).isoformat(), NOW) == "3 hours ago"
