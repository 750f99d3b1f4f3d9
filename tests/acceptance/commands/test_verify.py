"""``verify`` as an auditor tries it: what is wrong here is found, classified, and repaired on request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.stage import Stage, Stripe, days_ago, simulated_stripe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


REFUNDS = 500


@pytest.fixture
def stripe() -> Iterator[Stripe]:
    options = {"refunds": REFUNDS, "from": days_ago(40), "to": days_ago(0)}
    with simulated_stripe(**options) as stripe:
        yield stripe


@pytest.fixture
async def stage(stripe: Stripe, database: str, open_folder: Path) -> Stage:
    """Synced once, some minutes ago."""
    stage = Stage(stripe, open_folder, database, {"since": days_ago(40)})
    stage.run("sync")
    for table in ("refund", "refund_superseded", "span_check"):
        await stage.execute(
            f"UPDATE refund_sync.{table} SET observed_at = observed_at - interval '10 minutes'"
        )
    return stage


def verify(stage: Stage, *options: str, expect: int = 0) -> dict[str, Any]:
    return dict(stage.run("verify", *options, expect=expect).reported)


def found_in(reported: dict[str, Any]) -> dict[str, list[str]]:
    """What was found, without what was not."""
    kinds = (
        "missing", "holes", "stale", "drift", "altered_here", "hidden", "gone", "returned",
        "undecodable", "unrepaired", "contradicted",
    )  # fmt: skip
    return {kind: sorted(reported[kind]) for kind in kinds if reported[kind]}


def some(stripe: Stripe, first: int, count: int) -> list[str]:
    """Refunds that finance knows, a few days old and older."""
    booked = [p for p in stripe.truth() if p["charge"] and p["status"] == "succeeded"]
    return [str(plain["id"]) for plain in booked[60 + first : 60 + first + count]]


async def stored(stage: Stage, *ids: str) -> list[Any]:
    return await stage.select(
        "SELECT * FROM refund_sync.refund WHERE id = ANY($1) ORDER BY id", list(ids)
    )


async def forget(stage: Stage, *ids: str) -> None:
    """As a careless hand does it."""
    await stage.execute("DELETE FROM refund_sync.refund WHERE id = ANY($1)", list(ids))
    for table in ("charge_link", "destination_details", "refund_superseded"):
        await stage.execute(f"DELETE FROM refund_sync.{table} WHERE refund_id = ANY($1)", list(ids))


async def test_what_is_equal_is_said_so_and_so_is_what_cannot_be_proven(stage: Stage) -> None:
    before = await written_by(stage)
    reported = verify(stage)
    assert (reported["equal"], found_in(reported), reported["revoked"]) == (REFUNDS, {}, [])
    assert reported["seconds_left"] == 0
    assert await written_by(stage) == before
    text = stage.run("verify", "--from", days_ago(9), "--to", days_ago(4), as_json=False).out
    assert "equal" in text
    assert "cannot be proven" in text
    assert "test clocks" in text


async def written_by(stage: Stage) -> set[tuple[str, str, str]]:
    """Which transaction wrote each row that verify has no business to change."""
    found = set()
    for table in (
        "refund",
        "charge_link",
        "refund_superseded",
        "charge",
        "balance_transaction",
        "span_check",
    ):
        rows = await stage.select(f"SELECT ctid::text, xmin::text FROM refund_sync.{table}")
        found |= {(table, row[0], row[1]) for row in rows}
    return found


async def test_a_row_lost_here_is_missing_its_claim_revoked_and_sync_heals_it(
    stage: Stage, stripe: Stripe
) -> None:
    lost = some(stripe, 0, 2)
    await forget(stage, *lost)
    ran = stage.run("verify", expect=7)
    assert found_in(ran.reported) == {"missing": sorted(lost), "holes": sorted(lost)}
    assert ran.reported["revoked"]
    assert "2 missing" in ran.err
    claims = await stage.select(
        "SELECT stream, xmin::text AS by FROM refund_sync.coverage_claim WHERE kind = 'revoked'"
    )
    coverage = await stage.select("SELECT stream, xmin::text AS by FROM refund_sync.coverage")
    assert {claim["stream"] for claim in claims} == {"refunds", "refunds:settled"}
    assert {row["by"] for row in coverage if row["stream"] == "refunds"} <= {
        c["by"] for c in claims
    }
    await stage.assert_no_invariant_is_broken()
    assert stage.run("status", "--check", expect=7).reported["accounts"][0]["gaps"]
    assert await stored(stage, *lost) == []

    assert stage.run("sync").reported["inserted"] == 2
    assert found_in(verify(stage)) == {}
    await stage.assert_equal_to_stripe()


async def test_repair_writes_what_was_read_claims_again_and_leaves_nothing_to_say(
    stage: Stage, stripe: Stripe
) -> None:
    lost, altered = some(stripe, 0, 2), some(stripe, 5, 3)
    await forget(stage, lost[0])
    await stage.execute("DELETE FROM refund_sync.refund WHERE id = $1", lost[1])
    await stage.execute("DELETE FROM refund_sync.charge_link WHERE refund_id = $1", altered[2])
    await stage.execute(
        "UPDATE refund_sync.refund SET amount_minor = amount_minor + 1 WHERE id = $1", altered[0]
    )
    await stage.execute(
        "UPDATE refund_sync.charge_link SET charge_id = 'ch_forged' WHERE refund_id = $1",
        altered[1],
    )
    unreported = stripe.change("fail", ids=some(stripe, 10, 1), events=False)
    recent = stripe.change("fail", ids=some(stripe, 15, 1))
    late = stripe.change("late", created=int(time.time()) - 5 * 86_400, events=False)
    expected = {
        "missing": sorted([*lost, *late]), "holes": sorted([*lost, *late]),
        "drift": sorted([*altered, *unreported]), "altered_here": sorted(altered), "stale": recent,
    }  # fmt: skip
    reported = verify(stage, expect=7)
    assert found_in(reported) == expected
    assert reported["differences"][altered[0]].keys() == {"amount_minor"}
    assert reported["differences"][altered[1]]["charge_id"][0] == "ch_forged"

    reported = verify(stage, "--repair", expect=7)
    assert found_in(reported) == {kind: ids for kind, ids in expected.items() if kind != "holes"}
    assert reported["seconds_left"] == 0
    await stage.assert_equal_to_stripe()
    sources = await stage.select(
        "SELECT refund_id, source FROM refund_sync.refund_version v"
        " WHERE version = (SELECT max(version) FROM refund_sync.refund_version n"
        "  WHERE n.refund_id = v.refund_id) AND source <> 'list'"
    )
    repaired = {*lost, *late, *altered, *unreported, *recent}
    assert {row[0]: row[1] for row in sources} == dict.fromkeys(repaired, "verify")
    assert stage.run("status", "--check").reported["accounts"][0]["gaps"] == []
    assert found_in(verify(stage)) == {}


async def test_a_change_that_an_event_reports_is_stale_and_ends_well(
    stage: Stage, stripe: Stripe
) -> None:
    changed = sorted(stripe.change("metadata", ids=some(stripe, 0, 3)))
    before = await stored(stage, *changed)
    assert found_in(verify(stage)) == {"stale": changed}
    assert await stored(stage, *changed) == before
    stripe.faults(permissions_removed=["rak_event_read"])
    unreported = stripe.change("metadata", ids=some(stripe, 9, 1), events=False)
    reported = verify(stage)
    assert found_in(reported) == {"stale": sorted([*changed, *unreported])}
    assert any("may not read events" in what for what in reported["cannot_prove"])


async def test_what_is_listed_no_more_is_hidden_where_stripe_still_knows_it_and_gone_where_not(
    stage: Stage, stripe: Stripe
) -> None:
    hidden, gone = some(stripe, 0, 1), some(stripe, 5, 2)
    stripe.change("hide", ids=hidden, events=False)
    assert found_in(verify(stage)) == {"hidden": hidden}
    stripe.change("delete", ids=gone, events=False)
    before = await stored(stage, *gone)
    assert found_in(verify(stage, expect=7)) == {"hidden": hidden, "gone": sorted(gone)}
    assert await stored(stage, *gone) == before

    ran = stage.run("verify", "--repair", expect=7)
    assert found_in(ran.reported)["gone"] == sorted(gone)
    assert "2 are asked for again in an hour, before they count as gone" in ran.err
    assert len(await stage.select("SELECT FROM finance.refunds")) == REFUNDS
    await stage.execute(
        "UPDATE refund_sync.refund SET unknown_at = unknown_at - interval '61 minutes'"
    )
    assert found_in(verify(stage, "--repair", expect=7))["gone"] == sorted(gone)
    marks = await stage.select(
        "SELECT id, hidden_at IS NOT NULL, gone_at IS NOT NULL FROM refund_sync.refund"
        " WHERE coalesce(hidden_at, gone_at) IS NOT NULL"
    )
    assert {row[0]: (row[1], row[2]) for row in marks} == {
        hidden[0]: (True, False), **dict.fromkeys(gone, (True, True)),
    }  # fmt: skip
    shown = await stage.select("SELECT refund_id FROM finance.refunds")
    assert len(shown) == REFUNDS - len(gone)
    assert not {row[0] for row in shown} & set(gone)
    versions = await stage.select(
        "SELECT FROM refund_sync.refund_version WHERE refund_id = ANY($1)", gone
    )
    assert len(versions) == len(gone)
    await stage.assert_no_invariant_is_broken()

    assert found_in(verify(stage)) == {"hidden": hidden}
    stripe.change("delete", ids=hidden, events=False)
    assert found_in(verify(stage, expect=7)) == {"gone": hidden}
