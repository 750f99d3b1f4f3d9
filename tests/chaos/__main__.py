"""``make chaos SEED=n [RUNS=n]``: lives of that seed and those after it. Ends with 1 if anything was wrong."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time

from tests.chaos.life import Life
from tests.chaos.place import places


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bad = [
        seed
        for seed in range(options.seed, options.seed + options.runs)
        if not _lived(seed, options.seconds)
    ]
    if bad:
        print("again, each: " + "; ".join(f"make chaos SEED={seed}" for seed in bad))
    sys.exit(1 if bad else 0)


def _lived(seed: int, seconds: float) -> bool:
    began = time.monotonic()
    with places() as (folder, server):
        life = Life(seed, seconds, folder, server)
        wrong = asyncio.run(life.live())
        counts = (
            f"{len(life.story)} deeds, {life.watcher.looks} looks, {life.crew.started} processes"
        )
        reported = f"{life.crew.most_mib:.0f} MiB at most, {time.monotonic() - began:.0f} s"
        print(f"seed {seed}: {'wrong' if wrong else 'ok'}; {counts}, {reported}", flush=True)
        for line in wrong:
            print(f"  {line}")
        if wrong:
            print("\n".join(f"    {line}" for line in life.story[-60:]))
    return not wrong


if __name__ == "__main__":
    main()
