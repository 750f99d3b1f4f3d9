"""What make says on a machine that lacks something; nothing is installed for that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.stage import ROOT

if TYPE_CHECKING:
    from pathlib import Path

TOO_OLD = """#!/bin/sh
case "$1" in --version) echo "Python 3.9.2" ;; *) exit 1 ;; esac
"""
WITHOUT_VENV = f"""#!/bin/sh
case "$2" in *ensurepip*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac
"""
TARGETS = ("help", "setup", "demo", "test", "check", "bench", "fmt", "clean")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/requirements.txt", folder / "deploy")
    return folder


def make(clone: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": path or os.environ["PATH"], "HOME": str(clone)}
    return subprocess.run(
        [shutil.which("make") or "make", *arguments],
        cwd=clone, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip


def a_python(clone: Path, script: str, name: str = "python") -> str:
    path = clone / name
    path.write_text(script)
    path.chmod(0o755)
    return str(path)


def test_help_is_what_make_does_and_names_every_target(clone: Path) -> None:
    done = make(clone)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == make(clone, "help").stdout
    for target in TARGETS:
        assert f"make {target} " in done.stdout


@pytest.mark.parametrize("target", ["setup", "demo", "test", "check", "bench", "fmt"])
def test_a_python_that_is_too_old_is_named_with_the_way_out(clone: Path, target: str) -> None:
    python = a_python(clone, TOO_OLD)
    done = make(clone, target, f"PYTHON={python}")
    assert done.returncode == 2
    assert f"needs Python 3.11 or newer; '{python}' is Python 3.9.2." in done.stderr
    assert f"make PYTHON=/path/to/python3.11 {target}" in done.stderr


def test_a_python_without_venv_is_named_with_the_way_out(clone: Path) -> None:
    done = make(clone, "demo", f"PYTHON={a_python(clone, WITHOUT_VENV)}")
    assert done.returncode == 2
    assert "lacks its venv module" in done.stderr
    assert "apt install python3-venv" in done.stderr


def test_no_python_at_all_is_said(clone: Path) -> None:
    done = make(clone, "demo", "PYTHON=no-such-python")
    assert done.returncode == 2
    assert "'no-such-python' was not found." in done.stderr
    assert "/bin/sh" not in done.stderr


def test_a_newer_python_next_to_an_old_one_is_found(clone: Path) -> None:
    tools = clone / "bin"
    tools.mkdir()
    a_python(tools, TOO_OLD, "python3")
    a_python(tools, WITHOUT_VENV, "python3.12")
    done = make(clone, "demo", path=f"{tools}:/usr/bin:/bin")
    assert "'python3.12' lacks its venv module" in done.stderr


def test_clean_leaves_what_git_tracks(clone: Path) -> None:
    for folder in (".venv/bin", "service/__pycache__", "migrations", "tests", "dist"):
        (clone / folder).mkdir(parents=True)
    assert make(clone, "clean").returncode == 0
    left = {path.name for path in clone.iterdir()}
    assert left == {"Makefile", "pyproject.toml", "deploy", "service", "migrations", "tests"}
    assert [*(clone / "service").iterdir()] == []
