"""``demo``: the main job on a simulated account, by the real commands, each a process of its own."""

import asyncio
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from service.cli.app import Context, app, run_async
from service.domain.errors import DatabaseError, RefundSyncError

KEY = "rk_test_demo0000000000000000000000"
REFUNDS = 20_000
OURS = ("REFUND_SYNC_", "STRIPE_", "DATABASE_URL", "CREDENTIALS_DIRECTORY", "PG")


class DemoError(RefundSyncError):
    """A step of the demo did not end well; what it printed stands above."""


@app.command
def demo(*, context: Context) -> None:
    """Show the main job on 20,000 simulated refunds: no key, no Postgres needed. About a minute."""
    run_async(_demo(context), stopped="the next demo starts over")


def _clear(folder: Path) -> None:
    """The last demo goes; one that somebody still looks at is not pulled from under them."""
    from service.adapters.postgres.server.embedded import is_in_use

    if is_in_use(folder):
        raise DatabaseError(
            f"the last demo is still in use: {folder}", hint="End the psql or command that uses it."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o755)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays: its folder, its environment, its simulated Stripe."""

    folder: Path
    environ: Mapping[str, str]
    url: str
    dsn: str
    context: Context

    async def run(self, *arguments: str, quiet: bool = False) -> str:
        """Runs a command as a person would, showing it first. Returns its standard output."""
        say(f"\n$ refund-sync {' '.join(arguments)}")
        progress = [] if self.context.shows_progress else ["--no-progress"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service", "--config", str(self.folder / "refund-sync.toml"),
            "-q", *progress, *arguments, env=self.environ, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, _ = await process.communicate()
        except asyncio.CancelledError:
            await _ended(process)
            raise
        text = out.decode(sys.stdout.encoding, "backslashreplace")
        if not quiet:
            say(text.rstrip())
        if process.returncode:
            raise DemoError(f"refund-sync {arguments[0]} ended with {process.returncode}")
        return text

    async def stripe(self, what: str, **values: object) -> dict[str, Any]:
        """Makes something happen at the simulated Stripe."""
        from urllib.request import Request, urlopen

        request = Request(f"{self.url}/_sim/{what}", data=json.dumps(values).encode())  # noqa: S310 - our own, on loopback
        answer: bytes = await asyncio.to_thread(lambda: urlopen(request, timeout=30).read())  # noqa: S310 - as above
        return dict(json.loads(answer))


def say(text: str) -> None:
    print(text, flush=True)


async def _demo(context: Context) -> None:
    from service.app import databases as places

    folder = places.embedded_root(context.defaults) / "demo"
    _clear(folder)
    say(
        f"A simulated Stripe account with {REFUNDS:,} refunds of a year, at test-mode limits (25 requests/s)."
    )
    year_ago = datetime.now(UTC).date() - timedelta(days=365)
    async with _simulator(year_ago.isoformat()) as url, places.server_of(folder) as server:
        environ = _environment(folder, url, year_ago.isoformat())
        stage = Stage(folder, environ, url, server.dsn, context)
        await _play(stage, year_ago)
    _look_further(folder)


async def _play(stage: Stage, since: date) -> None:
    say("\nEvery refund of the year, each with its charge and its ledger lines:")
    await stage.run("backfill", "--from", since.isoformat())
    say(
        "\nMeanwhile at Stripe: 12 new refunds; an old one fails, and the bank's number of another arrives."
    )
    await stage.stripe("change", kind="new", count=12)
    failed = await stage.stripe("change", kind="fail", count=1)
    arrived = await stage.stripe("change", kind="arn", count=1)
    await stage.run("sync")
    say("\nA list by created never shows changes of old refunds; the events reported these two:")
    for refund_id in (*failed["ids"], *arrived["ids"]):
        await stage.run("show", refund_id)
    await _summary(stage, since)


async def _summary(stage: Stage, since: date) -> None:
    from service.app import databases as places

    summary = await places.summary(stage.dsn)
    say("\nFor finance, from the views in the schema finance:\n")
    say(f"  {'currency':<10}{'refunds':>9}{'gross':>18}{'failed':>16}{'pending':>16}")
    for row in summary.by_currency[:8]:
        amounts = "".join(
            f"{row[name]:>{width},}" if row[name] is not None else f"{'?':>{width}}"
            for name, width in (("gross", 18), ("failed", 16), ("pending", 16))
        )
        say(f"  {row['currency']:<10}{row['refunds']:>9,}{amounts}")
    if len(summary.by_currency) > 8:
        say(f"  and {len(summary.by_currency) - 8} more currencies")
    say(f"\n  {'month':<12}{'covered':>9}  complete")
    for row in reversed(summary.by_month):
        say(f"  {row['month']:%Y-%m}     {row['share_covered']:>9.2%}  {completeness(row, since)}")


def completeness(row: Mapping[str, Any], since: date) -> str:
    """Whether that month is complete, and why not: what was asked for begins on the day *since*."""
    if row["complete"]:
        return "yes"
    month: date = row["month"]
    if since.replace(day=1) == month < since:
        return f"no, it begins {since}"
    if month == datetime.now(UTC).date().replace(day=1):
        return "no, it is not over"
    return "no"


def _look_further(folder: Path) -> None:
    ours = invocation(sys.argv[0], sys.executable, Path.cwd())
    here = f"REFUND_SYNC_DATA_DIR={shlex.quote(str(folder))} {ours}"
    say(
        "\nLook further:\n"
        f"  {here} psql\n"
        "      table finance.completeness_by_month;\n"
        f"  {here} status\n"
        "\nWith your own account, a restricted key (see README):\n"
        f"  STRIPE_API_KEY=rk_test_... {ours} backfill --month 2026-01\n"
        "\nThis folder is kept until the next demo."
    )


def invocation(argv0: str, executable: str, folder: Path) -> str:
    """How this program is called from *folder*: by its name only where a shell would find that one."""
    script = Path(argv0) if Path(argv0).stem != "__main__" else Path(executable)
    script = (folder / script).with_name("refund-sync")
    if not script.is_file():
        return f"{_shortened(folder / executable, folder)} -m service"
    found = shutil.which("refund-sync")
    if found and script.samefile(found):
        return "refund-sync"
    return _shortened(script, folder)


def _shortened(path: Path, folder: Path) -> str:
    shown = str(path.relative_to(folder) if path.is_relative_to(folder) else path)
    return shlex.quote(shown if os.sep in shown else f".{os.sep}{shown}")


def _environment(folder: Path, url: str, since: str) -> dict[str, str]:
    """Nothing of the caller's own key, database and settings."""
    (folder / "refund-sync.toml").touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {
        **kept,
        "STRIPE_API_KEY": KEY,
        "REFUND_SYNC_STRIPE_API_BASE": url,
        "REFUND_SYNC_DATA_DIR": str(folder),
        "REFUND_SYNC_SINCE": since,
    }


@asynccontextmanager
async def _simulator(since: str) -> AsyncIterator[str]:
    """A simulator that ends with this process, however that ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.simulator", "--port=0", "--with-parent", "--limits=test",
        f"--refunds={REFUNDS}", f"--from={since}", "--latency-ms=100",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        reported = await process.stdout.readline() if process.stdout else b""
        if not reported:
            raise DemoError("the simulator did not start")
        yield str(json.loads(reported)["url"])
    finally:
        await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Asks a child to end, and insists after a while."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
