"""Named queries: each is used, and whatever is asked for by name is there."""

from __future__ import annotations

import re
from pathlib import Path

from service.adapters.postgres.queries import all_queries

SERVICE = Path(__file__).resolve().parents[3] / "service"
ASKED = re.compile(r'\b(?:query|fetch|fetchval|execute)\(\s*"([a-z_]+)"\s*[,)]')
AUDITS = {"audit_coverage", "audit_claims"}
"""Run by people, and by tests after each run, to check what the service promises."""


def test_every_query_is_used_and_every_one_used_is_there() -> None:
    texts = [file.read_text(encoding="utf-8") for file in SERVICE.rglob("*.py")]
    used = {name for text in texts for name in ASKED.findall(text)}
    named = {name for text in texts for name in re.findall(r'"(\w+)"', text)}
    assert used <= set(all_queries())
    assert set(all_queries()) - named == AUDITS
