"""The application: what all commands share, and how one is run.

A command module registers functions with ``@app.command``; one that needs settings takes
``context: Context``, which is handed in and never parsed. Work that awaits goes through ``run_async``.
"""

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError

from service.adapters.process import streams
from service.adapters.process.logs import Redactor
from service.domain.errors import OutputError, ReaderGoneError, RefundSyncError, UsageError

if TYPE_CHECKING:
    from service.adapters.postgres.session.database import Database
    from service.app.accounts import Account
    from service.settings import Settings

T = TypeVar("T")

HELP = """Stripe refunds in Postgres, for finance, proven complete.

New here? `refund-sync demo` shows the main job in about a minute: no key, no Postgres needed.
"""


def version() -> str:
    from importlib.metadata import version as installed

    return f"refund-sync {installed('refund-sync')}"


app = App(
    name="refund-sync",
    help=HELP,
    help_format="markdown",
    version=version,
    result_action="return_value",
    default_parameter=Parameter(show_default=False),
)
EVERYWHERE = Group("Everywhere", sort_key=100)
app.meta.group_parameters = EVERYWHERE
app["--help"].group = app["--version"].group = EVERYWHERE


@dataclass
class Session:
    """What a command is given: settings, and the ways to speak."""

    config: Path | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    progress: bool = True
    allow_api_base: bool = False
    redactor: Redactor = field(default_factory=Redactor)

    @cached_property
    def settings(self) -> "Settings":
        from service.settings import load_settings

        settings = load_settings(
            os.environ, config=self.config, flags={"allow_api_base": self.allow_api_base or None}
        )
        self.redactor.learn(settings.secrets())
        self._set_up_logs(settings.log_format)
        return settings

    def with_current_key(self) -> "Settings":
        """The settings with the key as its file holds it by now, which no output will show."""
        from service.settings import with_key_as_it_is_now

        settings = with_key_as_it_is_now(self.settings, os.environ)
        self.redactor.learn(settings.secrets())
        return settings

    @cached_property
    def defaults(self) -> "Settings":
        """Settings of nobody: for what must ignore the caller's own."""
        from service.settings import Settings

        self._set_up_logs("auto")
        return Settings()

    def _set_up_logs(self, form: str) -> None:
        from service.adapters.process import logs

        level = logging.WARNING if self.quiet else logging.DEBUG if self.verbose else logging.INFO
        logs.set_up(self.redactor, level=level, form=form)

    @asynccontextmanager
    async def open_database(self) -> AsyncIterator["Database"]:
        """The configured database, ready for use; the embedded one ends with the last who uses it."""
        from service.app import databases as places

        async with places.open_database(self.settings, self.report) as database:
            yield database

    @asynccontextmanager
    async def open_account(self, *, daemon: bool = False) -> AsyncIterator["Account"]:
        """The account of the configured key, in that database, which is not made where there is no key."""
        from service.app import accounts

        self.settings.require_key()
        async with (
            self.open_database() as database,
            accounts.open_account(self.settings, database, daemon=daemon) as account,
        ):
            yield account

    @property
    def shows_progress(self) -> bool:
        return self.progress and not self.quiet_progress and sys.stderr.isatty()

    @property
    def quiet_progress(self) -> bool:
        return os.environ.get("TERM") == "dumb"

    def as_given(self, text: str) -> str:
        """*text* with secret settings called as they were given, once that is known."""
        settings: Settings | None = self.__dict__.get("settings")
        return settings.as_given(text) if settings else text

    def report(self, text: str) -> None:
        """A message for people, on stderr."""
        print(self.redactor(text), file=sys.stderr, flush=True)

    def emit(self, data: Any, text: Callable[[], str] | None = None) -> None:
        """The result, on stdout: JSON where asked for, else text."""
        if self.as_json:
            ascii_only = not streams.takes_any_text(sys.stdout)
            print(json.dumps(data, ensure_ascii=ascii_only, default=str), flush=True)
        elif text is not None and (reported := text()):
            print(reported, flush=True)


Context = Annotated[Session, Parameter(parse=False)]


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="TOML file with settings.")] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="Data as JSON.")] = False,
    quiet: Annotated[
        bool, Parameter(name=("--quiet", "-q"), negative="", help="Warnings only.")
    ] = False,
    verbose: Annotated[
        bool, Parameter(name=("--verbose", "-v"), negative="", help="Tell more.")
    ] = False,
    no_progress: Annotated[bool, Parameter(negative="", help="No progress bars.")] = False,
    allow_api_base: Annotated[
        bool, Parameter(negative="", help="Let STRIPE_API_BASE be any address: the key goes there.")
    ] = False,
) -> Any:
    session = Session(config, as_json, quiet, verbose, not no_progress, allow_api_base)

    def work() -> Any:
        command, bound, ignored = app.parse_args(tokens, print_error=False, exit_on_error=False)
        extra = {"context": session} if "context" in ignored else {}
        return command(*bound.args, **bound.kwargs, **extra)

    return _guarded(session, work)


def run_command_line() -> None:
    """What the arguments of this process ask for; every way out has its exit code."""

    def work() -> None:
        app.meta(print_error=False, exit_on_error=False)
        sys.stdout.flush()

    _guarded(Session(), work)


def _guarded(session: Session, work: Callable[[], Any]) -> Any:
    """Runs a command; what it raises becomes a message and an exit code."""
    try:
        return work()
    except CycloptsError as error:
        raise _ended(session, _usage(error)) from None
    except RefundSyncError as error:
        if session.verbose:
            _report_traceback(session)
        raise _ended(session, error) from None
    except Exception:  # noqa: BLE001 - it is a bug, reported once, here
        _report_traceback(session)
        session.report(
            "refund-sync: this is a bug; nothing false was recorded. Please report the lines above."
        )
        raise SystemExit(1) from None


def _ended(session: Session, error: RefundSyncError) -> SystemExit:
    if isinstance(error, OutputError):
        streams.drop_output()
    if not isinstance(error, ReaderGoneError):
        session.report(session.as_given(f"refund-sync: {error}"))
    if error.hint:
        session.report(session.as_given(f"  {error.hint}"))
    return SystemExit(error.exit_code)


def _usage(error: CycloptsError) -> UsageError:
    """What the parser could not understand, reported like every error."""
    error.verbose = False
    reported = str(error).partition(" Available commands:")[0].rstrip(".")
    if isinstance(error, UnusedCliTokensError):
        reported = f"not understood: {' '.join(error.unused_tokens or ())}"
    hint = f"Try: {' '.join(('refund-sync', *(error.command_chain or ()), '--help'))}"
    if any(token.startswith("--api-key") for token in error.root_input_tokens or ()):
        hint = "The key is never an argument, where others could see it: set STRIPE_API_KEY."
    return UsageError(f"{reported[:1].lower()}{reported[1:]}", hint=hint)


def _report_traceback(session: Session) -> None:
    import traceback

    session.report(traceback.format_exc())


def run_async(work: Coroutine[Any, Any, T], *, stopped: object = "") -> T:
    """Runs *work* to its end; what *stopped* is by then is said where a signal ends it first.

    The first SIGINT or SIGTERM cancels it, so that it can commit what it has; a second one ends the
    process at once. The exit code is 130 or 143 then.
    """
    got: list[int] = []

    async def main() -> T:
        _spare_the_collector()
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _on_signal, number, got, task)
        return await task

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(main())
    except (asyncio.CancelledError, KeyboardInterrupt):
        number = got[0] if got else signal.SIGINT
        print(f"stopped: {stopped}".rstrip(": "), file=sys.stderr)
        raise SystemExit(128 + number) from None


def _spare_the_collector() -> None:
    """What is loaded stays, and pages come and go without cycles: looking rarely for those is cheaper."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _on_signal(number: int, got: list[int], task: asyncio.Task[Any]) -> None:
    if got:
        end_at_once(number)
    got.append(number)
    task.cancel()


def end_at_once(number: int) -> NoReturn:
    """Without another word, but with no server of ours left behind that nobody else uses."""
    if embedded := sys.modules.get("service.adapters.postgres.server.embedded"):
        embedded.leave_at_once()
    os._exit(128 + number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
