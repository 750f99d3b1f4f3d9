"""A place to type commands in, and what came of them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.acceptance.stage import KEY, SINCE, UNTIL, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (
    "backfill", "cancel", "completion", "config", "demo", "doctor", "fetch", "migrate", "psql", "run",
    "show", "status", "sync", "verify",
)  # fmt: skip
SPAN = ("backfill", "--from", SINCE, "--to", UNTIL)
NOWHERE = "postgresql://finance:hunter2hunter@127.0.0.1:1/refunds"
IN_TURN = """
import contextlib, io, json, os, sys
from service.cli import main
told = []
given = dict(os.environ)
for arguments, values in json.load(sys.stdin):
    os.environ.clear()
    os.environ.update(given | values)
    code, out, err = 0, io.StringIO(), io.StringIO()
    sys.argv = ["refund-sync", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    told.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def reported(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """A place to type commands in; *unset* and *values* change the environment."""

    stage: Stage

    def __call__(self, *arguments: str, unset: str = "", **values: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "service", *arguments], env=self.environ(unset, values),
            cwd=self.stage.folder, capture_output=True, text=True, check=False, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert KEY not in done.stdout + done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def in_turn(
        self,
        commands: Sequence[Sequence[str]],
        settings: Sequence[dict[str, str]] | None = None,
        unset: str = "",
    ) -> list[Ended]:
        """Several commands, each with settings of its own, one after the other in one process."""
        asked = list(zip(commands, settings or [{}] * len(commands), strict=True))
        done = subprocess.run(
            [sys.executable, "-c", IN_TURN], env=self.environ(unset, {}), cwd=self.stage.folder,
            input=json.dumps(asked), capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert KEY not in done.stdout
        return [Ended(*reported) for reported in json.loads(done.stdout)]

    def environ(self, unset: str, values: dict[str, str]) -> dict[str, str]:
        return {k: v for k, v in (self.stage.environ() | values).items() if k != unset}


def in_a_terminal(shell: Shell, *arguments: str, **values: str) -> str:
    """What a person sees: standard output and error are the same terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "service", *arguments],
        env=shell.environ("", {"TERM": "xterm-256color", "COLUMNS": "100", **values}),
        cwd=shell.stage.folder, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 4096):
            seen += piece
    except OSError:  # how Linux says that the other side has closed
        pass
    finally:
        os.close(ours)
    assert process.wait(timeout=60) == 0
    return seen.decode()
