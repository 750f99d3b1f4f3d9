"""``doctor``: whether this would work, and what is missing."""

from dataclasses import asdict
from typing import Any

from service.cli.app import Context, app, run_async

MARKS = {"ok": "ok  ", "warning": "warn", "error": "FAIL"}


@app.command
def doctor(*, context: Context) -> None:
    """Check key, permissions, API version, clocks, database, currencies, and the read allowance."""
    run_async(_doctor(context), stopped="nothing was changed")


async def _doctor(context: Context) -> None:
    from service.cli.operate import diagnosis

    findings = await diagnosis.examine(context.settings)
    context.emit({"findings": [asdict(finding) for finding in findings]}, lambda: _text(findings))
    worst = next((finding for finding in findings if finding.level == "error"), None)
    if worst is not None:
        raise SystemExit(worst.exit_code)


def _text(findings: list[Any]) -> str:
    lines = []
    for finding in findings:
        lines.append(f"{MARKS[finding.level]}  {finding.what:<20} {finding.says}")
        if finding.hint:
            lines.append(f"{'':<27}{finding.hint}")
    return "\n".join(lines)
