"""``run``: the daemon."""

import asyncio
import signal
from typing import Annotated

from cyclopts import Parameter

from service.cli.app import Context, app, end_at_once, run_async

NoWait = Annotated[
    bool,
    Parameter(
        name="--no-wait", negative="", help="End with 9 where another daemon works for the account."
    ),
]


@app.command
def run(*, no_wait: NoWait = False, context: Context) -> None:
    """Keep the warehouse up to date until stopped; serves health, metrics and webhooks on HTTP.

    One daemon works for an account; another stands by, and takes over when the first is gone.
    The first SIGTERM or SIGINT lets the pass under way end, commits what was read, and exits 0.
    """
    run_async(_run(context, wait=not no_wait))


async def _run(context: Context, *, wait: bool) -> None:
    stop, serves = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(_serve(context, stop, serves, wait=wait))
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
        end_at_once(number)
    stop.set()


async def _serve(
    context: Context, stop: asyncio.Event, serves: asyncio.Event, *, wait: bool
) -> None:
    from service.worker import Daemon

    async with context.open_account(daemon=True) as account:
        serves.set()
        await Daemon(account, stop, wait=wait, current=context.with_current_key).run()
