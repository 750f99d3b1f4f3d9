"""What is deployed fits together: unit, image, compose, pinned packages."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.adapters.web.guard import MOST_CONNECTIONS
from service.domain.errors import AccessError, SettingError, UsageError
from service.settings import SETTABLE, variable_of

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"


def test_the_unit_is_hardened() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here")
    reported = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager",
         DEPLOY / "refund-sync.service"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    level = re.search(r"Overall exposure level .*: ([0-9.]+)", reported.stdout)
    assert level, reported.stderr
    assert float(level[1]) <= 1.5


def test_the_unit_says_systemd_when_it_is_ready_and_takes_secrets_as_credentials() -> None:
    lines = (DEPLOY / "refund-sync.service").read_text().splitlines()
    for line in ("Type=notify", "DynamicUser=yes", "WatchdogSec=15min"):
        assert line in lines
    assert any(line.startswith("LoadCredential=STRIPE_API_KEY:") for line in lines)
    assert not any(line.startswith("Environment=STRIPE") for line in lines)


def test_the_unit_may_open_enough_descriptors_for_every_connection_of_the_port() -> None:
    unit = (DEPLOY / "refund-sync.service").read_text()
    limit = re.search(r"^LimitNOFILE=(\d+)$", unit, re.MULTILINE)
    assert limit
    assert int(limit[1]) * 3 // 4 >= MOST_CONNECTIONS


def test_the_unit_starts_again_after_all_but_what_needs_a_person() -> None:
    """Usage, a setting, a key that is refused at the start; what Stripe refuses later ends nothing."""
    lines = (DEPLOY / "refund-sync.service").read_text().splitlines()
    assert "Restart=on-failure" in lines
    (prevented,) = [line for line in lines if line.startswith("RestartPreventExitStatus=")]
    codes = {UsageError.exit_code, SettingError.exit_code, AccessError.exit_code}
    assert {int(code) for code in prevented.partition("=")[2].split()} == codes


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt"])
def test_every_package_is_pinned_with_hashes(name: str) -> None:
    text = (DEPLOY / name).read_text().replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        assert re.match(r"[A-Za-z0-9._-]+==\S+ ", line), line
        assert "--hash=sha256:" in line, line


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def test_compose_hands_secrets_over_as_files_and_only_settings_that_exist() -> None:
    known = {variable_of(name) for name in SETTABLE}
    secret = {"STRIPE_API_KEY", "DATABASE_URL"}
    for service in ("refund-sync", "migrate"):
        names = set(compose()["services"][service]["environment"])
        assert {f"{name}_FILE" for name in secret} <= names
        assert names <= known | {f"{name}_FILE" for name in secret}
        assert not names & secret


def test_compose_migrates_before_it_runs_and_leaves_time_to_stop() -> None:
    service = compose()["services"]["refund-sync"]
    assert service["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert int(service["stop_grace_period"].rstrip("s")) > 25


def test_the_image_runs_as_nobody_in_particular_and_checks_hashes() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    final = text.split("\nFROM ")[-1]
    assert re.search(r"^USER 10001", final, re.MULTILINE)
    assert len(re.findall(r"--require-hashes", text)) == 2
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (DEPLOY.parent / name).exists(), name
