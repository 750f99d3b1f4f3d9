"""What must never get into the repository, and what must hold of every file in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# Put together from pieces, so that this file passes its own test.
FORBIDDEN = {
    "a local URL": re.compile("file" + r"://(?!/dev/null)"),
    "an index option": re.compile("--" + r"(?:extra-)?index" + "-url|--" + "default-index"),
    "a find-links option": re.compile("--" + "find" + "-links"),
    "a package registry": re.compile(
        "py" + r"pi\.(?:org|python)|pythonhosted" + r"\.org|registry\." + "npmjs", re.IGNORECASE
    ),
    "a path of a machine": re.compile(
        r"(?<![\w.~])/(?:" + "|".join(["ro" + "ot", "wo" + "rk", "Us" + "ers", "ho" + r"me/(?!you\b)\w+"]) + ")/"
    ),
}  # fmt: skip


def tracked() -> list[Path]:
    reported = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    names = [name for name in reported.stdout.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    files = tracked()
    if not files:
        pytest.skip("not a git checkout")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert not found, f"{what} in {found}"


def test_the_patterns_find_what_they_name() -> None:
    planted = {
        "a local URL": "file" + ":///srv/wheels",
        "an index option": "--index" + "-url x",
        "a find-links option": "--find" + "-links x",
        "a package registry": "https://py" + "pi.org/simple",
        "a path of a machine": "see /ro" + "ot/x",
    }
    assert {name for name, text in planted.items() if FORBIDDEN[name].search(text)} == set(
        FORBIDDEN
    )
