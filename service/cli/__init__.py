"""The command line: arguments, output, exit codes; one module for each group of commands."""


def main() -> None:
    """Runs the command that the arguments name; ends the process with its exit code."""
    import os
    import signal

    # While modules load, Python would raise KeyboardInterrupt in whatever runs, and drop it in a callback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

    from service.adapters.streams import open_standard_streams

    open_standard_streams()
    try:
        _run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _run() -> None:
    from service.cli import (  # noqa: F401
        cancel,
        completion,
        config,
        cover,
        database,
        demo,
        doctor,
        refunds,
        run,
        status,
        verify,
    )
    from service.cli.app import run_command_line

    run_command_line()
