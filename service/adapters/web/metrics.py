"""What Prometheus reads: counted where it happens, put together when it asks."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from service.adapters.stripe.http.answers import REASONS
from service.adapters.stripe.objects.decode import MASKED_MEMBERS
from service.domain import pace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from service.adapters.stripe.http.answers import Counters
    from service.domain.batch import Written
    from service.ports.runs import Progress


T = TypeVar("T")

OUTCOMES = {
    "newest part": ("ok", "incomplete", "failed"),
    "fill of history": ("ok", "incomplete", "failed"),
    "hints": ("failed",),
    "rechecks": ("failed",),
    "second look": ("failed",),
    "measure": ("failed",),
}
"""How each job of the daemon is counted. What is known is exported as 0 from the start: ``increase()`` does
not see the first of a series that was not there before."""


@dataclass(slots=True)
class Measured:
    """Coverage of one account and stream, as the last look at the database found it."""

    account_id: str
    stream: str
    covered_until_s: float
    gap_s: float
    quarantined: int


@dataclass(eq=False)
class Metrics:
    """Everything since the start of this process, and the last look at the database.

    *rows* are those of runs that have ended.
    """

    stripe: Counters | None = None
    rows: Counter[str] = field(default_factory=Counter)
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    last_success: dict[str, float] = field(default_factory=dict)
    webhooks: Counter[str] = field(default_factory=Counter)
    measured: list[Measured] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    """Objects to read again: due, and hinted at."""
    key_refused: bool = False
    poll_interval_s: float = 0.0
    """The interval between polls that is in force."""
    _under_way: list[Progress] = field(default_factory=list, init=False)

    @contextmanager
    def counting(self, *runs: Progress) -> Iterator[None]:
        """Counts what these runs write, as they write it, however the body ends."""
        self._under_way += runs
        try:
            yield
        finally:
            self._under_way = [run for run in self._under_way if all(run is not r for r in runs)]
            for run in runs:
                self.count_rows(run.written)

    def count_rows(self, written: Written) -> None:
        _add(self.rows, written)

    def rows_so_far(self) -> Counter[str]:
        """Rows by outcome, those of runs under way included."""
        rows = Counter(self.rows)
        for run in self._under_way:
            _add(rows, run.written)
        return rows

    def registry(self) -> CollectorRegistry:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return registry

    def collect(self) -> Iterator[Metric]:
        if self.stripe:
            yield from self._of_stripe(self.stripe)
        yield _counter(
            "rows", "Refunds written, by what became of them.", ["outcome"], self.rows_so_far()
        )
        yield _counter(
            "webhooks", "Deliveries, by what became of them.", ["outcome"], self.webhooks
        )
        runs = CounterMetricFamily(
            "refund_sync_runs", "Runs, by how they ended.", labels=["job", "outcome"]
        )
        known = [(job, outcome) for job, outcomes in OUTCOMES.items() for outcome in outcomes]
        for (job, outcome), count in _from_0(known, self.runs).items():
            runs.add_metric([job, outcome], count)
        yield runs
        last = GaugeMetricFamily(
            "refund_sync_last_success_timestamp_seconds",
            "When a job last ended well.",
            labels=["job"],
        )
        for job, second in self.last_success.items():
            last.add_metric([job], second)
        yield last
        yield GaugeMetricFamily(
            "refund_sync_key_refused",
            "1 while Stripe refuses the key or a permission, else 0.",
            value=float(self.key_refused),
        )
        yield GaugeMetricFamily(
            "refund_sync_poll_interval_seconds",
            "Seconds between two polls, as allowance and webhooks stretch them now.",
            value=self.poll_interval_s,
        )
        yield from self._of_database()

    def _of_stripe(self, stripe: Counters) -> Iterator[Metric]:
        yield _counter(
            "requests", "Requests to Stripe, every attempt.", ["endpoint"], stripe.requests
        )
        yield _counter("responses", "Answers of Stripe.", ["status"], stripe.statuses)
        yield _counter(
            "rate_limited",
            "429s met, by Stripe's reason.",
            ["reason"],
            _from_0(REASONS, stripe.limited),
        )
        yield _counter("retries", "Attempts that were repeated.", ["why"], stripe.retries)
        yield _counter(
            "masked",
            "Card numbers and personal data masked in refunds that were written, by member.",
            ["member"],
            _from_0(MASKED_MEMBERS, stripe.masked),
        )
        yield CounterMetricFamily(
            "refund_sync_wait_seconds", "Seconds spent waiting for permits.", value=stripe.waited_s
        )
        used = CounterMetricFamily(
            "refund_sync_reads_used",
            "Reads that count against Stripe's allowance, by what for.",
            labels=["class"],
        )
        by_class = Counter(dict.fromkeys(pace.CLASSES, 0))
        for (kind, _), reads in stripe.reads.items():
            by_class[kind] += reads
        for kind, reads in by_class.items():
            used.add_metric([kind], reads)
        yield used

    def _of_database(self) -> Iterator[Metric]:
        labels = ["account", "stream"]
        until = GaugeMetricFamily(
            "refund_sync_covered_until_seconds",
            "Unix time up to which the newest part is proven.",
            labels=labels,
        )
        gap = GaugeMetricFamily(
            "refund_sync_gap_seconds", "Seconds wanted and not proven.", labels=labels
        )
        waiting = GaugeMetricFamily(
            "refund_sync_quarantined", "Objects in quarantine.", labels=["account"]
        )
        for found in self.measured:
            until.add_metric([found.account_id, found.stream], found.covered_until_s)
            gap.add_metric([found.account_id, found.stream], found.gap_s)
        again = GaugeMetricFamily("refund_sync_rechecks", "Objects to read again.", labels=["kind"])
        for kind, count in self.waiting.items():
            again.add_metric([kind], count)
        for account_id, count in {m.account_id: m.quarantined for m in self.measured}.items():
            waiting.add_metric([account_id], count)
        yield from (until, gap, waiting, again)


def _add(rows: Counter[str], written: Written) -> None:
    for name in written.__slots__:
        rows[name] += getattr(written, name)


def _from_0(known: Iterable[T], counted: Mapping[T, int]) -> dict[T, int]:
    return {**dict.fromkeys(known, 0), **counted}


def _counter(
    name: str, text: str, labels: list[str], counted: Mapping[str, int] | Mapping[int, int]
) -> Metric:
    family = CounterMetricFamily(f"refund_sync_{name}", text, labels=labels)
    for label, count in counted.items():
        family.add_metric([str(label)], count)
    return family
