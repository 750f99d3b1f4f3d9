"""Logs on stderr: structured, bounded to what is asked for, and free of secrets and addresses."""

from __future__ import annotations

import logging
import os
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from service.adapters.process.streams import takes_any_text

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

MASK = "[redacted]"
_PATTERNS = (
    re.compile(r"\b(?:sk|rk|pk)_(?:org_)?(?:live|test)_[\w*]\S*?(?=[\s'\",;)\]}]|$)"),
    re.compile(r"\bwhsec_\w+"),
    re.compile(r"(?<=://)(?!USER:PASSWORD@)[^\s/@:]*:[^\s/@]+(?=@)"),
    re.compile(r"(?<=password=)(?:'[^']*'|[^\s&'\"]+)"),
    re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
)
"""Keys, also as Stripe masks them with their last characters shown; passwords in URLs; e-mail."""


@dataclass(slots=True)
class Redactor:
    """Takes secrets out of text: those it knows, and all that looks like one."""

    secrets: list[str] = field(default_factory=list)

    def learn(self, secrets: Iterable[str]) -> None:
        self.secrets = sorted({*self.secrets, *secrets}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        for pattern in _PATTERNS:
            text = pattern.sub(MASK, text)
        return text

    def deep(self, value: Any) -> Any:
        """The same value with every text in it redacted."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {key: self.deep(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.deep(part) for part in value]
        plain = value is None or isinstance(value, int | float | bool)
        return value if plain else self(str(value))

    def process(
        self, _logger: Any, _name: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """As a processor of structlog, after tracebacks were made text."""
        return {key: self.deep(value) for key, value in event.items()}


def set_up(redactor: Redactor, *, level: int, form: str) -> None:
    """Routes structlog and the standard library's logging to stderr, as *form*: auto, console, json."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redactor.process,
    ]
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    colors = console and sys.stderr.isatty() and not plain
    last: Any = (
        structlog.dev.ConsoleRenderer(colors=colors)
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=not takes_any_text(sys.stderr))
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("alembic", "sqlalchemy", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    # It warns at each tick that finds the one before it at work, which is as it is meant to be.
    logging.getLogger("apscheduler").setLevel(max(level, logging.ERROR))
