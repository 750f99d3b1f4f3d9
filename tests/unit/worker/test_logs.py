"""Logs say what happened, in the asked form, and give away no secret and no address."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES

from service.adapters.process.logs import MASK, Redactor, set_up
from service.adapters.process.scheduler import Ticker

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "rk_live_51NoSuchKey0000TAIL"


@contextmanager
def logs(form: str = "json") -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    redactor = Redactor()
    redactor.learn([KEY])
    set_up(redactor, level=logging.INFO, form=form)
    try:
        yield
    finally:
        root.handlers, root.level = before
        structlog.reset_defaults()


def entries(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def fail() -> None:
    raise OSError(f"refused {KEY}")


@pytest.mark.parametrize(
    "text",
    [
        f"Invalid API Key provided: {KEY}",
        "Invalid API Key provided: rk_live_****************TAIL",
        "Expired API Key provided: sk_test_51abc*****************TAIL.",
        "{'Authorization': 'Bearer sk_live_51abcTAIL'}",
        "cannot reach postgresql://finn:TAIL@db/money",
        "cannot reach postgresql://db/money?user=finn&password=TAIL",
        "signed with whsec_aTAIL",
        "refund for jane.TAIL@example.com",
    ],
)
def test_nothing_of_a_secret_or_an_address_is_left(text: str) -> None:
    redacted = Redactor()(text)
    assert "TAIL" not in redacted
    assert MASK in redacted


def test_ordinary_text_stays() -> None:
    text = "slice [2026-01-01, 2026-01-02) of acct_1 re_1abc read in 3 requests at http://127.0.0.1:8321"
    assert Redactor()(text) == text


def test_secrets_inside_values_and_tracebacks_are_masked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with logs():
        try:
            fail()
        except OSError:
            log = structlog.get_logger("t")
            log.exception("job.failed", asked={"url": [KEY, 3]}, count=2, error=OSError(KEY))
    [entry] = entries(capsys)
    assert entry["event"] == "job.failed"
    assert entry["asked"] == {"url": [MASK, 3]}
    assert entry["count"] == 2
    assert "OSError: refused" in entry["exception"]
    assert "TAIL" not in json.dumps(entry)


def test_what_libraries_log_comes_out_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    with logs():
        try:
            fail()
        except OSError:
            logging.getLogger("some.library").exception("sent %s", KEY)
    [entry] = entries(capsys)
    assert entry["event"] == f"sent {MASK}"
    assert entry["level"] == "error"
    assert "timestamp" in entry
    assert "OSError: refused" in entry["exception"]
    assert "TAIL" not in json.dumps(entry)


def test_less_than_the_level_is_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with logs():
        structlog.get_logger("t").debug("page.read")
        logging.getLogger("sqlalchemy").info("BEGIN")
        structlog.get_logger("t").info("slice.covered", run_id="r1")
    assert [entry["event"] for entry in entries(capsys)] == ["slice.covered"]


async def test_a_tick_that_finds_the_one_before_it_at_work_says_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    skipped, done = asyncio.Event(), asyncio.Event()
    ticker = Ticker(done.wait, 0.01)  # type: ignore[arg-type]  # what it returns is not looked at
    ticker._scheduler.add_listener(lambda _: skipped.set(), EVENT_JOB_MAX_INSTANCES)
    with logs():
        ticker.start()
        await skipped.wait()
        done.set()
        await ticker.stop(drain_s=5)
    assert entries(capsys) == []


def test_what_was_bound_to_the_context_is_on_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logs(), structlog.contextvars.bound_contextvars(run_id="r7"):
        structlog.get_logger("t").info("a.b")
        logging.getLogger("some.library").warning("c")
    assert [entry["run_id"] for entry in entries(capsys)] == ["r7", "r7"]


def test_for_people_it_is_a_line_without_colours_where_no_terminal_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with logs("console"):
        structlog.get_logger("t").info("slice.covered", seconds=60)
    shown = capsys.readouterr().err
    assert "slice.covered" in shown
    assert "seconds=60" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("environ", "colored"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)],
)
def test_a_terminal_gets_colours_unless_it_has_none_or_they_are_unwanted(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], colored: bool
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as seen, os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with logs("auto"):
            structlog.get_logger("t").info("slice.covered", seconds=60)
        terminal.flush()
        line = seen.read(4096)
    assert b"slice.covered" in line
    assert (b"\x1b" in line) == colored


def test_a_json_line_stays_json_where_the_encoding_lacks_its_characters() -> None:
    raw = io.BytesIO()
    with redirect_stderr(io.TextIOWrapper(raw, "latin-1", "backslashreplace")), logs():
        structlog.get_logger().info("refund.read", description="Größe 5 €")
        sys.stderr.flush()
        assert json.loads(raw.getvalue())["description"] == "Größe 5 €"
