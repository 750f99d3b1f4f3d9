"""What README and reference say of commands, settings, exit codes and permissions is what the program has; links lead somewhere."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import service
from service import settings
from service.adapters.stripe.http.errors import PERMISSIONS
from service.adapters.stripe.objects.event import TYPES
from service.adapters.web.server import WEBHOOKS
from service.domain.errors import RefundSyncError
from service.domain.pace import FLOOR, MINIMUM, PER_REFUND, Budget
from service.settings import SETTABLE, Settings, variable_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyclopts import App

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = "\n\n## ".join(
    (ROOT / page).read_text(encoding="utf-8").removeprefix("# ")
    for page in (
        "README.md",
        "docs/webhooks.md",
        "docs/commands.md",
        "docs/settings.md",
        "docs/demo.md",
    )
)
"""The README, and the pages that hold its tables and sections."""
PAGES = [
    path
    for path in (ROOT / "README.md", ROOT / "deploy" / "README.md", *(ROOT / "docs").rglob("*.md"))
    if path.is_file()
]
SIGNALS_AND_SUCCESS = {0, 130, 143}


def table(first: str) -> list[list[str]]:
    """The rows of the table whose first heading is *first*."""
    lines = iter(REFERENCE.splitlines())
    for line in lines:
        if line.startswith(f"| {first} |"):
            break
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")])
    return rows[1:]


def words(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@pytest.fixture(scope="module")
def app() -> App:
    commands = importlib.import_module("service.cli").__path__
    for module in pkgutil.walk_packages(commands, "service.cli."):
        importlib.import_module(module.name)
    return importlib.import_module("service.cli.app").app  # type: ignore[no-any-return]


def commands(app: App) -> Iterator[tuple[str, App]]:
    """Each command by the words that are typed."""
    for name in app:
        if name.startswith("-"):
            continue
        below = [(f"{name} {inner}", found) for inner, found in commands(app[name])]
        yield from below or [(name, app[name])]


def flags(command: App) -> set[str]:
    collection = command.assemble_argument_collection(parse_docstring=False)
    parsed = [argument for argument in collection if argument.parse]
    return {name for argument in parsed for name in argument.names if name.startswith("--")}


def reported_commands() -> dict[str, str]:
    found = [words(row[0])[0] for row in table("command")]
    return {re.split(r" (?:\[|[A-Z])", text)[0]: text for text in found}


def test_every_command_is_in_the_readme_with_all_its_options(app: App) -> None:
    there = {name: flags(command) for name, command in commands(app)}
    reported = {
        name: set(re.findall(r"--[a-z-]+", text)) for name, text in reported_commands().items()
    }
    assert reported == there


def test_every_option_of_all_commands_is_in_the_readme(app: App) -> None:
    line = REFERENCE[REFERENCE.index("Everywhere:") : REFERENCE.index("Data goes to")]
    reported = set(re.findall(r"--?[a-z][a-z-]*", line))
    there = {
        name
        for argument in app.meta.assemble_argument_collection(parse_docstring=False)
        for name in argument.names
        if argument.show
    }
    short = {"--quiet": "-q", "--verbose": "-v"}
    assert reported == {short.get(name, name) for name in there}


def as_reported(name: str) -> str:
    """A default as the README writes it."""
    special = {
        "database_url": "embedded",
        "data_dir": "see below",
        "read_allowance": "see below",
        "since": "`2011-01-01`",
        "global_rate": f"`{settings.LIVE_RATE:g}` live, `{settings.TEST_RATE:g}` test",
    }
    value: Any = getattr(Settings(), name)
    if name in special:
        return special[name]
    if value is None:
        return ""
    return f"`{value:g}`" if isinstance(value, int | float) else f"`{value}`"


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    reported = {words(row[0])[0]: row[1] for row in table("name")}
    assert reported == {variable_of(name): as_reported(name) for name in SETTABLE}
    assert Settings().since.date().isoformat() == "2011-01-01"


def test_the_secrets_come_first() -> None:
    first = [words(row[0])[0] for row in table("name")][: len(settings.SECRETS)]
    assert first == list(settings.SECRETS)


def exit_codes(error: type[RefundSyncError]) -> set[int]:
    return {error.exit_code}.union(*map(exit_codes, error.__subclasses__()))


def test_every_exit_code_is_in_the_readme(app: App) -> None:
    assert app.name
    for module in pkgutil.walk_packages(service.__path__, "service."):
        if not re.search(r"__main__|_migrations", module.name):
            importlib.import_module(module.name)
    reported = {int(code) for row in table("exit code") for code in row[0].split(",")}
    assert reported == exit_codes(RefundSyncError) | SIGNALS_AND_SUCCESS


def test_permissions_are_called_as_the_program_calls_them() -> None:
    reported = {row[0] for row in table("permission")}
    assert reported <= set(PERMISSIONS.values())
    assert {"Events: Read", "Charges and Refunds: Write"} <= reported


def test_the_webhook_and_its_types_are_those_that_are_understood() -> None:
    section = REFERENCE[REFERENCE.index("## Webhooks") : REFERENCE.index("## Commands")]
    assert f"`POST {WEBHOOKS}`" in section
    reported = {word for word in words(section) if re.match(r"(?:refund|charge)\.", word)}
    assert reported == set(TYPES)


def test_figures_of_the_read_allowance_are_those_that_hold() -> None:
    section = REFERENCE[REFERENCE.index("## The read allowance") : REFERENCE.index("## The demo")]
    text = " ".join(section.split())
    shares = [f"{part:.0%}".replace("%", " %") for part in MINIMUM.values()]
    assert [share for share in shares if share in text] == shares
    assert f"{PER_REFUND} reads a transaction" in text
    assert f"{FLOOR:,}" in text

    def poll_s(refunds: int) -> float:
        chosen = Settings()
        allowance = max(FLOOR, PER_REFUND * refunds)
        return Budget(allowance, chosen.read_share, chosen.sync_interval_s).poll_interval_s

    assert (poll_s(0), poll_s(599) > 60, poll_s(600)) == (1_800, True, 60)
    for reported in ("every 60 s", "from 600 refunds in 30 days on", "every 30 minutes"):
        assert reported in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_points_to_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [link for link in links if ":" not in link and not (page.parent / link).exists()]
    named = [
        word for word in words(text) if re.fullmatch(r"(?:service|docs|deploy|tests)/\S*", word)
    ]
    inside = [word for word in words(text) if re.fullmatch(r"(?:jobs|domain|adapters)/\S+", word)]
    missing += [word for word in named if not (ROOT / word).exists()]
    missing += [word for word in inside if not (ROOT / "service" / word).exists()]
    assert not [name for name in missing if name != "service/_migrations"]
