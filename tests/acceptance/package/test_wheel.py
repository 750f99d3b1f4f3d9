"""The wheel as it is built: whole, and at work from an empty directory, away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.acceptance.stage import ROOT


@dataclass(frozen=True)
class Installed:
    """An unpacked wheel, which comes before whatever else is installed; what it needs is shared."""

    site: Path

    def python(self, *arguments: str, folder: Path) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False,
            env={
                "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(self.site),
                "REFUND_SYNC_DATA_DIR": str(folder / "data"),
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    (built,) = folder.glob("refund_sync-*-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    site = tmp_path_factory.mktemp("site")
    with ZipFile(wheel) as archive:
        archive.extractall(site)
    return Installed(site)


def shipped(folder: str, inside: str) -> set[str]:
    """Every file of a folder of the checkout, by the name that it has in the wheel."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {
        f"{inside}/{path.relative_to(ROOT / folder)}"
        for path in found
        if "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_service_and_its_migrations_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == shipped("service", "service") | shipped("migrations", "service/_migrations")


def test_it_runs_from_its_own_files_and_knows_its_version(
    installed: Installed, tmp_path: Path
) -> None:
    place = installed.python("-c", "import service; print(service.__file__)", folder=tmp_path)
    assert Path(place.strip()).is_relative_to(installed.site)
    reported = installed.python("-m", "service", "--version", folder=tmp_path)
    assert reported.startswith("refund-sync 0.")


def test_its_migrations_are_the_ones_that_it_carries(installed: Installed, tmp_path: Path) -> None:
    where = (
        "from service.adapters.postgres.schema.revisions import migrations_folder as f; print(f())"
    )
    place = installed.python("-c", where, folder=tmp_path).strip()
    assert Path(place) == installed.site / "service/_migrations"
    sql = installed.python("-m", "service", "migrate", "--sql", folder=tmp_path)
    assert "CREATE TABLE refund_sync.refund " in sql
    assert "CREATE VIEW finance.completeness_by_month" in sql


def test_status_works_on_the_embedded_database_from_an_empty_directory(
    installed: Installed, open_folder: Path
) -> None:
    reported = json.loads(installed.python("-m", "service", "status", "--json", folder=open_folder))
    assert reported["accounts"] == []
    assert reported["schema"]["state"] == "current"


def test_the_command_is_named_refund_sync(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt"))
        assert "refund-sync = service.__main__:main" in archive.read(name).decode()
