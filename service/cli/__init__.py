"""The command line: arguments, output, exit codes; one module for each group of commands."""


def main() -> None:
    """Runs the command that the arguments name; ends the process with its exit code."""
    try:
        _run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _run() -> None:
    from service.cli import config, cover, database, demo, doctor, refunds, run, status  # noqa: F401
    from service.cli.app import app

    app.meta()
