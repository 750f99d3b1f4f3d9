"""The processes of a life: daemons that are started again when they end, and commands next to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.acceptance.daemons import Place
from tests.acceptance.stage import ROOT

if TYPE_CHECKING:
    from random import Random

MOST_COMMANDS = 3
MOST_MIB = 400
FINE = {
    "run": {0, 4, 5, 6, 9},
    "backfill": {0, 5, 6, 8, 4, 10, 11},
    "sync": {0, 4, 5, 6, 8, 10, 11},
    "verify": {0, 4, 5, 6, 7, 8, 10, 11},
    "fetch": {0, 4, 5, 6, 8, 10, 11},
    "status": {0, 5, 7, 8},
}
"""Exit codes by which a command may end while everything fails around it; 1 is a bug of ours."""


@dataclass
class ScaledPlace(Place):
    def program(self) -> list[str]:
        return [sys.executable, "-m", "tests.chaos.scaled"]

    def environ(self) -> dict[str, str]:
        return super().environ() | {"PYTHONPATH": str(ROOT)}


@dataclass
class Worker:
    """One process; what it says goes to a file, so that it never waits for us."""

    name: str
    process: subprocess.Popen[bytes]
    said: Path
    killed: bool = False
    frozen: bool = False

    def signal(self, number: int) -> None:
        self.killed = self.killed or number in {signal.SIGKILL, signal.SIGTERM}
        self.process.send_signal(number)

    def freeze(self) -> None:
        self.frozen = True
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.frozen = False
        self.process.send_signal(signal.SIGCONT)

    def wrong(self) -> str:
        """What its end says is wrong; nothing of one that we killed, or that ended as it may."""
        code = self.process.returncode
        text = self.said.read_text(errors="replace")
        if "Traceback" in text:
            return f"{self.name} ended with {code}, and a traceback:\n{text[-3_000:]}"
        if self.killed or code in FINE[self.name]:
            return ""
        return f"{self.name} ended with {code}:\n{text[-2_000:]}"

    def mib(self) -> float:
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Crew:
    """*settings* of each daemon: they listen on ports of their own."""

    place: ScaledPlace
    ports: tuple[int, ...]
    daemons: list[Worker] = field(default_factory=list)
    commands: list[Worker] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    started: int = 0
    most_mib: float = 0.0

    def start(self, *arguments: str, port: int | None = None) -> Worker:
        self.started += 1
        said = self.place.folder / f"said-{self.started}-{arguments[0]}"
        environ = self.place.environ()
        if port:
            environ["REFUND_SYNC_HTTP"] = f"127.0.0.1:{port}"
        with said.open("wb") as file:
            process = subprocess.Popen(
                [*self.place.program(), "--json", *arguments], env=environ, cwd=self.place.folder,
                stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        return Worker(arguments[0], process, said)

    def keep_daemons(self) -> None:
        """As systemd does: one that ended is started again."""
        for number, port in enumerate(self.ports):
            if number >= len(self.daemons):
                self.daemons.append(self.start("run", port=port))
            elif self.daemons[number].process.poll() is not None:
                self._look(self.daemons[number])
                self.daemons[number] = self.start("run", port=port)

    def begin(self, *arguments: str) -> None:
        """A command next to the daemons, unless there are enough."""
        if len(self.commands) < MOST_COMMANDS:
            self.commands.append(self.start(*arguments))

    def reap(self) -> None:
        for worker in [w for w in self.commands if w.process.poll() is not None]:
            self._look(worker)
            self.commands.remove(worker)
        self.most_mib = max([self.most_mib, *(w.mib() for w in (*self.daemons, *self.commands))])

    def anyone(self, chance: Random) -> Worker | None:
        alive = [w for w in (*self.daemons, *self.commands) if w.process.poll() is None]
        return chance.choice(alive) if alive else None

    def thaw(self) -> None:
        for worker in (*self.daemons, *self.commands):
            if worker.frozen and worker.process.poll() is None:
                worker.thaw()

    def end(self, within_s: float = 90) -> None:
        """All of them, in peace; one that does not end is wrong."""
        self.thaw()
        for worker in self.daemons:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        for worker in (*self.daemons, *self.commands):
            try:
                worker.process.wait(within_s)
            except subprocess.TimeoutExpired:
                self.wrong.append(
                    f"{worker.name} does not end:\n{worker.said.read_text()[-2_000:]}"
                )
                worker.killed = True
                worker.process.kill()
                worker.process.wait()
            self._look(worker)
        self.daemons, self.commands = [], []

    def kill(self) -> None:
        for worker in (*self.daemons, *self.commands):
            worker.process.kill()
            worker.process.wait()

    def _look(self, worker: Worker) -> None:
        if wrong := worker.wrong():
            self.wrong.append(wrong)
