"""``config show``: each setting, where it came from, secrets redacted."""

from datetime import datetime
from typing import Any

from cyclopts import App

from service.cli.app import Context, app

config = App(name="config", help="Settings: `config show` lists them all.")
app.command(config)


@config.command
def show(*, context: Context) -> None:
    """Show each setting and where it came from. Secrets are redacted."""
    reported = [_reported(context.settings, name) for name in _names()]
    reported += [
        {"name": name, "value": value, "origin": "environment" if value else "default"}
        for name, value in context.settings.network.shown().items()
    ]
    context.emit({"settings": reported}, lambda: _text(reported))


def _names() -> tuple[str, ...]:
    from service.settings import SETTABLE

    return SETTABLE


def _reported(settings: Any, name: str) -> dict[str, Any]:
    from service.settings import variable_of

    return {
        "name": variable_of(name),
        "value": _shown(settings, name),
        "origin": settings.origins.get(name, "default"),
    }


def _shown(settings: Any, name: str) -> str | float | None:
    """What holds: a default that depends on something as it came out, a secret as that it is set."""
    from pydantic import SecretStr

    from service.app import databases as places

    value = getattr(settings, name)
    if isinstance(value, SecretStr):
        return "[set]"
    if name == "global_rate":
        return float(settings.rate_of_all)
    if name == "data_dir":
        return str(places.embedded_root(settings))
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, int | float) else str(value)


def _text(reported: list[dict[str, Any]]) -> str:
    rows = [(t["name"], _plain(t["value"]), t["origin"]) for t in reported]
    name_width, value_width = (max(len(row[i]) for row in rows) for i in (0, 1))
    return "\n".join(
        f"{name:<{name_width}}  {value:<{value_width}}  {origin}" for name, value, origin in rows
    )


def _plain(value: str | float | None) -> str:
    if value is None:
        return "-"
    whole = isinstance(value, float) and value.is_integer()
    return f"{value:.0f}" if whole else str(value)
