"""The command line: arguments, output, exit codes; one module for each group of commands."""


def main() -> None:
    """Runs the command that the arguments name; ends the process with its exit code."""
    import os
    import signal

    # While modules load, Python would raise KeyboardInterrupt in the code that happens to run, and drop it in a callback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

    from service.adapters.process.streams import open_standard_streams

    open_standard_streams()
    try:
        _run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _run() -> None:
    from service.cli.app import run_command_line
    from service.cli.operate import (  # noqa: F401
        completion,
        config,
        database,
        demo,
        doctor,
        run,
        status,
    )
    from service.cli.sync import backfill, cancel, fetch, verify  # noqa: F401

    run_command_line()
