"""``run``: the daemon."""

import asyncio
import os
import signal

from service.cli.app import Context, app, run_async


@app.command
def run(*, context: Context) -> None:
    """Keep the warehouse up to date until stopped; serves health and metrics on HTTP.

    The first SIGTERM or SIGINT lets the pass under way end, commits what was read, and exits 0.
    """
    run_async(_run(context))


async def _run(context: Context) -> None:
    stop, serves = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(_serve(context, stop, serves))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _on_signal, number, stop)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not serves.is_set() and not serving.done():
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return
    await serving


def _on_signal(number: int, stop: asyncio.Event) -> None:
    """The second one ends the process at once."""
    if stop.is_set():
        os._exit(128 + number)
    stop.set()


async def _serve(context: Context, stop: asyncio.Event, serves: asyncio.Event) -> None:
    from service import wiring
    from service.daemon import Daemon

    async with (
        wiring.open_database(context.settings, context.tell) as database,
        wiring.open_account(context.settings, database) as account,
    ):
        serves.set()
        await Daemon(account, stop).run()
