"""What the README tells of commands, settings, exit codes and permissions is what the program has; links lead somewhere."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import service
from service import settings
from service.adapters.stripe.errors import PERMISSIONS
from service.adapters.stripe.hints import TYPES
from service.adapters.web import WEBHOOKS
from service.domain.errors import RefundSyncError
from service.domain.pace import FLOOR, MINIMUM, PER_REFUND, Budget
from service.settings import SETTABLE, Settings, variable_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyclopts import App

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    path
    for path in (ROOT / "README.md", ROOT / "deploy" / "README.md", *(ROOT / "docs").rglob("*.md"))
    if path.is_file()
]
SIGNALS_AND_SUCCESS = {0, 130, 143}


def table(first: str) -> list[list[str]]:
    """The rows of the README's table whose first heading is *first*."""
    lines = iter(README.splitlines())
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
    for module in pkgutil.iter_modules(importlib.import_module("service.cli").__path__):
        importlib.import_module(f"service.cli.{module.name}")
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


def told_commands() -> dict[str, str]:
    found = [words(row[0])[0] for row in table("command")]
    return {re.split(r" (?:\[|[A-Z])", text)[0]: text for text in found}


def test_every_command_is_in_the_readme_with_all_its_options(app: App) -> None:
    there = {name: flags(command) for name, command in commands(app)}
    told = {name: set(re.findall(r"--[a-z-]+", text)) for name, text in told_commands().items()}
    assert told == there


def test_every_option_of_all_commands_is_in_the_readme(app: App) -> None:
    line = README[README.index("Everywhere:") : README.index("Data goes to")]
    told = set(re.findall(r"--?[a-z][a-z-]*", line))
    there = {
        name
        for argument in app.meta.assemble_argument_collection(parse_docstring=False)
        for name in argument.names
        if argument.show
    }
    short = {"--quiet": "-q", "--verbose": "-v"}
    assert told == {short.get(name, name) for name in there}


def as_told(name: str) -> str:
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
    told = {words(row[0])[0]: row[1] for row in table("name")}
    assert told == {variable_of(name): as_told(name) for name in SETTABLE}
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
    told = {int(code) for row in table("exit code") for code in row[0].split(",")}
    assert told == exit_codes(RefundSyncError) | SIGNALS_AND_SUCCESS


def test_permissions_are_called_as_the_program_calls_them() -> None:
    told = {row[0] for row in table("permission")}
    assert told <= set(PERMISSIONS.values())
    assert {"Events: Read", "Charges and Refunds: Write"} <= told


def test_the_webhook_and_its_types_are_those_that_are_understood() -> None:
    section = README[README.index("### Webhooks") : README.index("## Commands")]
    assert f"`POST {WEBHOOKS}`" in section
    told = {word for word in words(section) if re.match(r"(?:refund|charge)\.", word)}
    assert told == set(TYPES)


def test_figures_of_the_read_allowance_are_those_that_hold() -> None:
    section = README[README.index("### The read allowance") : README.index("## Promises")]
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
    for told in ("every 60 s", "from 600 refunds in 30 days on", "every 30 minutes"):
        assert told in text


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
