"""What Prometheus is shown, and how systemd is notified: names, labels, values, datagrams."""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.adapters.process.sd_notify import Notifier
from service.adapters.stripe import webhook
from service.adapters.stripe.http.answers import Counters
from service.adapters.web.guard import Guard, Limits
from service.adapters.web.metrics import OUTCOMES, Measured, Metrics
from service.domain import pace
from service.domain.batch import Written
from service.ports.runs import Progress
from service.worker.rounds import FILL, HINTS, MEASURE, NEWEST, RECHECKS, SECOND_LOOK

PAGE = (Path(__file__).resolve().parents[3] / "deploy" / "README.md").read_text(encoding="utf-8")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Labels = tuple[tuple[str, str], ...]


def samples(metrics: Metrics) -> dict[tuple[str, Labels], float]:
    registry = metrics.registry()
    registry.register(Guard(Limits()))
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_and_waits_come_from_the_counters_of_the_client() -> None:
    stripe = Counters(waited_s=1.5)
    stripe.requests["GET /v1/refunds"] += 3
    stripe.reads["polls", "GET /v1/refunds"] += 3
    stripe.statuses[429] += 2
    stripe.limited["endpoint-rate"] += 2
    stripe.masked["metadata"] += 4
    found = samples(Metrics(stripe=stripe))
    assert found["refund_sync_requests_total", (("endpoint", "GET /v1/refunds"),)] == 3
    assert found["refund_sync_responses_total", (("status", "429"),)] == 2
    assert found["refund_sync_rate_limited_total", (("reason", "endpoint-rate"),)] == 2
    assert found["refund_sync_wait_seconds_total", ()] == 1.5
    assert found["refund_sync_masked_total", (("member", "metadata"),)] == 4
    assert found["refund_sync_masked_total", (("member", "other"),)] == 0
    assert found["refund_sync_reads_used_total", (("class", "polls"),)] == 3


def test_rows_add_up_over_runs() -> None:
    metrics = Metrics()
    with metrics.counting(
        Progress(written=Written(inserted=2, changed=1)),
        Progress(written=Written(inserted=3, quarantined=1)),
    ):
        pass
    found = samples(metrics)
    assert found["refund_sync_rows_total", (("outcome", "inserted"),)] == 5
    assert found["refund_sync_rows_total", (("outcome", "changed"),)] == 1
    assert found["refund_sync_rows_total", (("outcome", "quarantined"),)] == 1


def test_rows_are_counted_while_their_run_goes_on_and_once_when_it_fails() -> None:
    metrics, fill, poll = Metrics(), Progress(), Progress()

    def inserted() -> float:
        return samples(metrics)["refund_sync_rows_total", (("outcome", "inserted"),)]

    with metrics.counting(fill):
        fill.written.inserted = 5
        assert inserted() == 5
        with suppress(ValueError), metrics.counting(poll):
            poll.written.inserted = 5
            assert inserted() == 10
            raise ValueError("away")
        fill.written.inserted = 7
        assert inserted() == 12
    assert inserted() == 12


def test_runs_and_their_last_success_are_reported_by_job() -> None:
    metrics = Metrics()
    metrics.runs["newest part", "ok"] += 2
    metrics.runs["newest part", "failed"] += 1
    metrics.last_success["newest part"] = 1_800_000_000.0
    found = samples(metrics)
    assert found["refund_sync_runs_total", (("job", "newest part"), ("outcome", "ok"))] == 2
    assert found["refund_sync_runs_total", (("job", "newest part"), ("outcome", "failed"))] == 1
    name = "refund_sync_last_success_timestamp_seconds"
    assert found[name, (("job", "newest part"),)] == 1_800_000_000


def test_what_can_be_counted_is_reported_as_0_before_it_happens() -> None:
    found = samples(Metrics(stripe=Counters()))
    for job in (NEWEST, FILL, HINTS, RECHECKS):
        assert found["refund_sync_runs_total", (("job", job), ("outcome", "failed"))] == 0
    assert set(OUTCOMES) == {NEWEST, FILL, HINTS, RECHECKS, SECOND_LOOK, MEASURE}
    assert found["refund_sync_rate_limited_total", (("reason", "endpoint-rate"),)] == 0
    for kind in pace.CLASSES:
        assert found["refund_sync_reads_used_total", (("class", kind),)] == 0


def alerts() -> list[str]:
    section = PAGE[PAGE.index("| alert | when |") : PAGE.index("From cron")]
    return re.findall(r"^\| [a-z ]+ \| `(.+?)`", section, re.MULTILINE)


@pytest.mark.parametrize("alert", alerts())
def test_what_an_alert_asks_for_is_served_from_the_start(alert: str) -> None:
    async def nobody(*_: object) -> bool:
        return False

    metrics = Metrics(
        stripe=Counters(),
        measured=[Measured("acct_1", "refunds", 0.0, 0.0, 0)],
        waiting={"due": 0, "hinted": 0},
    )
    receiver = webhook.WebhookReceiver(["whsec_1"], nobody, lambda: NOW, livemode=False)
    metrics.webhooks = receiver.outcomes
    [(name, _, label, value)] = re.findall(r'(refund_sync_\w+)(\{(\w+)="(\w+)"\})?', alert)
    served = [labels for found, labels in samples(metrics) if found == name]
    assert served
    assert not label or any((label, value) in labels for labels in served)


def test_coverage_is_reported_by_account_and_stream_and_quarantine_by_account() -> None:
    measured = [
        Measured("acct_1", "refunds", 1_800_000_000.0, 60.0, 2),
        Measured("acct_1", "events", 1_700_000_000.0, 0.0, 2),
    ]
    found = samples(Metrics(measured=measured))
    refunds = (("account", "acct_1"), ("stream", "refunds"))
    assert found["refund_sync_covered_until_seconds", refunds] == 1_800_000_000
    assert found["refund_sync_gap_seconds", refunds] == 60
    assert found["refund_sync_gap_seconds", (("account", "acct_1"), ("stream", "events"))] == 0
    assert found["refund_sync_quarantined", (("account", "acct_1"),)] == 2


def test_names_are_ours_and_each_is_explained() -> None:
    text = generate_latest(Metrics(stripe=Counters()).registry()).decode()
    families = list(text_string_to_metric_families(text))
    assert len(families) > 8
    for family in families:
        assert family.name.startswith("refund_sync_")
        assert family.documentation


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_reported_by_datagrams(tmp_path: Path, abstract: bool) -> None:
    name = f"refund-sync-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}" if abstract else name)
        systemd.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}" if abstract else name}).notify("READY=1")
        assert systemd.recv(100) == b"READY=1"


def test_nothing_is_reported_where_nobody_listens(tmp_path: Path) -> None:
    Notifier({}).notify("READY=1")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).notify("READY=1")


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "900000000"}, 900.0),
        ({"WATCHDOG_USEC": "900000000", "WATCHDOG_PID": str(os.getpid())}, 900.0),
        ({"WATCHDOG_USEC": "900000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_only_where_it_is_ours(
    environ: dict[str, str], watchdog_s: float | None
) -> None:
    assert Notifier(environ).watchdog_s == watchdog_s
