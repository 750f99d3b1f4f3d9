"""What ``doctor`` examines: each finding says what holds, or what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.cli.operate.diagnosis.of_database import READS, of_database, of_reads
from service.cli.operate.diagnosis.of_stripe import of_stripe

if TYPE_CHECKING:
    from service.cli.operate.diagnosis.finding import Finding
    from service.settings import Settings

PATIENCE_S = 15.0
"""How long one question to Stripe may keep retrying, where the deadline allows more."""


async def examine(settings: Settings) -> list[Finding]:
    """Never stops at the first thing that is wrong, nor waits long for what does not answer."""
    patience_s = min(settings.deadline_s, PATIENCE_S)
    settings = settings.model_copy(update={"deadline_s": patience_s})
    findings = [finding async for finding in of_stripe(settings)]
    findings += [finding async for finding in of_database(settings)]
    if all(finding.what != READS for finding in findings):
        findings.append(of_reads(settings, None))
    return [_as_given(finding, settings) for finding in findings]


def _as_given(finding: Finding, settings: Settings) -> Finding:
    says, hint = settings.as_given(finding.says), settings.as_given(finding.hint)
    return replace(finding, says=says, hint=hint)
