"""The folders are rooms: none too full, none too large, and each named where a stranger looks for it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MOST_MODULES = 12
MOST_LINES = 300
SHARED = {"__init__.py", "conftest.py", "__main__.py"}

FOLDERS = [
    folder
    for top in ("service", "tests")
    for folder in (ROOT / top, *(ROOT / top).rglob("*"))
    if folder.is_dir() and folder.name != "__pycache__"
]


def test_no_folder_holds_more_modules_than_one_can_oversee() -> None:
    full = {
        str(folder.relative_to(ROOT)): len(modules)
        for folder in FOLDERS
        if len(modules := {file.name for file in folder.glob("*.py")} - SHARED) > MOST_MODULES
    }
    assert not full


def test_no_module_is_longer_than_one_reads_at_once() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for folder in FOLDERS
        for file in folder.glob("*.py")
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert not long


def test_architecture_names_each_room_and_no_other() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(service/[\w/]+)/` \|", page, re.MULTILINE))
    rooms = {
        str(folder.relative_to(ROOT))
        for folder in FOLDERS
        if folder.is_relative_to(ROOT / "service")
    }
    assert named == rooms - {"service"}
