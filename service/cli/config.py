"""``config show``: each setting, where it came from, secrets redacted."""

from typing import Any

from cyclopts import App

from service.cli.app import Context, app

config = App(name="config", help="Settings.")
app.command(config)


@config.command
def show(*, context: Context) -> None:
    """Show each setting and where it came from. Secrets are redacted."""
    told = [_told(context.settings, name) for name in _names()]
    context.emit({"settings": told}, lambda: _text(told))


def _names() -> tuple[str, ...]:
    from service.settings import SETTABLE

    return SETTABLE


def _told(settings: Any, name: str) -> dict[str, Any]:
    from service.settings import SECRETS, variable_of

    value = getattr(settings, name)
    if name == "global_rate":
        value = settings.rate_of_all
    if name.upper() in SECRETS and value is not None:
        value = "[set]"
    plain = value if value is None or isinstance(value, int | float) else str(value)
    return {
        "name": variable_of(name),
        "value": plain,
        "origin": settings.origins.get(name, "default"),
    }


def _text(told: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{t['name']:<32} {'-' if t['value'] is None else t['value']!s:<28} {t['origin']}"
        for t in told
    )
