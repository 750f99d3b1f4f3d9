"""``python -m service.simulator``: prints one line of JSON when it is ready, ends with SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import sys
from datetime import UTC, datetime, timedelta

from service.simulator.http.limits import Limits
from service.simulator.http.server import Simulator
from service.simulator.world.account import World
from service.simulator.world.seeds import IDS, PAYMENT


def main() -> None:
    options = _parser().parse_args()
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end = options.to or today
    start = options.start or end - timedelta(days=365)
    world = World.seeded(
        options.refunds, start=int(start.timestamp()), end=int(end.timestamp()), seed=options.seed,
        account=options.account, shape=options.shape, hot_second=options.hot_second,
        livemode=options.livemode, ids=options.ids,
    )  # fmt: skip
    gc.freeze()
    # Connections are reset on purpose, by raising what a reset one raises: no error to log.
    logging.getLogger("aiohttp.server").addFilter(
        lambda reported: (
            not (reported.exc_info and isinstance(reported.exc_info[1], ConnectionResetError))
        )
    )
    simulator = Simulator(
        world, Limits(options.limits, options.width), options.latency_ms / 1000, options.gzip,
        port=options.port, seed=options.seed,
    )  # fmt: skip
    asyncio.run(_serve(simulator, with_parent=options.with_parent))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--refunds", type=int, default=20_000)
    parser.add_argument(
        "--from", dest="start", type=_day, help="first day; default: a year before --to"
    )
    parser.add_argument("--to", type=_day, help="day after the last; default: today")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--account", default="acct_1Simulated")
    parser.add_argument("--limits", choices=("none", "test", "live"), default="none")
    parser.add_argument("--width", type=int, default=0, help="requests in flight; 0 for no bound")
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--shape", choices=("even", "skewed"), default="even")
    parser.add_argument("--ids", choices=IDS, default=PAYMENT, help="what ids begin with")
    parser.add_argument(
        "--hot-second", type=int, default=0, help="how many refunds one second holds"
    )
    parser.add_argument("--livemode", action="store_true")
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    return parser


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def _serve(simulator: Simulator, *, with_parent: bool) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    if with_parent:
        loop.add_reader(sys.stdin.fileno(), lambda: ended.set() if not os.read(0, 4096) else None)
    async with simulator:
        reported = {"url": simulator.url, "account": simulator.world.account, "pid": os.getpid()}
        print(json.dumps(reported), flush=True)  # noqa: T201 - the one line that starters wait for
        await ended.wait()


if __name__ == "__main__":
    main()
