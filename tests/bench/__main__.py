"""``make bench``: a report with ratios side by side in one run. Options: parts to run, --quick."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.bench import at_limits, nets, rows, size, throughput, year
from tests.bench.databases import embedded_server
from tests.bench.report import Report

PARTS = {
    "limits": at_limits.run,
    "throughput": throughput.run,
    "size": size.run,
    "nets": nets.run,
    "year": year.run,
    "rows": rows.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes, to try it out")
    options = parser.parse_args()
    report = Report(scale=0.1 if options.quick else 1.0)
    folder = Path(tempfile.mkdtemp(prefix="refund-sync-bench-"))
    folder.chmod(0o755)
    try:
        with embedded_server(folder / "data") as server:
            report.head(
                f"Python {platform.python_version()}, {os.cpu_count()} cores, {server.name},"
                f" aiohttp {version('aiohttp')}, asyncpg {version('asyncpg')},"
                f" scale {report.scale:g}, seed {report.SEED}"
            )
            for name in options.parts or PARTS:
                PARTS[name](report, server, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.verdict()


if __name__ == "__main__":
    main()
