"""Draws the README's picture from a run: ``refund-sync demo | python docs/draw_demo.py docs``.

What is left out of the run stands as ``…``; no line is changed.
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path

WIDTH, LINE, SIZE, MARGIN = 920, 19, 13, 22
BAR = 34
THEMES = {
    "light": {"back": "#ffffff", "edge": "#d0d7de", "text": "#1f2328", "dim": "#656d76", "good": "#1a7f37", "said": "#0550ae"},
    "dark": {"back": "#0d1117", "edge": "#30363d", "text": "#e6edf3", "dim": "#8b949e", "good": "#3fb950", "said": "#79c0ff"},
}  # fmt: skip
LEFT_OUT = re.compile(
    r"^(?:embedded database|left out|  (?:account|created|observed|reason|metadata|charge_id|payment_intent_id"
    r"|balance_transaction_id|failure_balance_transaction_id|type|card_type|ledger|reference\w*|huf|kwd|gbp|chf"
    r"|cad|and \d+ more) |  \d{4}-(?:0[2-9]|10) |  and \d)"
)


def excerpt(lines: list[str]) -> list[str]:
    """The run up to "Look further"; one ellipsis for each stretch that is left out."""
    kept: list[str] = []
    for line in lines:
        if line.startswith("Look further"):
            break
        if not LEFT_OUT.match(line):
            kept.append(line)
        elif kept and kept[-1] != "  …":
            kept.append("  …")
    return [line for at, line in enumerate(kept) if line or (at and kept[at - 1])]


def color_of(line: str) -> str:
    if line.startswith("$ "):
        return "said"
    if re.search(r"  yes$|^(?:backfill|sync): ", line):
        return "good"
    return "dim" if line == "  …" else "text"


def drawn(lines: list[str], theme: dict[str, str]) -> str:
    height = BAR + LINE * len(lines) + MARGIN
    rows = "\n".join(
        f'<text x="{MARGIN}" y="{BAR + LINE * (row + 1)}" fill="{theme[color_of(line)]}" xml:space="preserve">'
        f"{escape(line)}</text>"
        for row, line in enumerate(lines)
        if line
    )
    dots = "".join(
        f'<circle cx="{MARGIN + 18 * n}" cy="17" r="5.5" fill="{theme["edge"]}"/>' for n in range(3)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="{SIZE}">\n'
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="9" fill="{theme["back"]}"'
        f' stroke="{theme["edge"]}"/>\n{dots}\n{rows}\n</svg>\n'
    )


def main() -> None:
    folder = Path(sys.argv[1])
    lines = ["$ make demo", *excerpt([line.rstrip() for line in sys.stdin])]
    for name, theme in THEMES.items():
        (folder / f"demo-{name}.svg").write_text(drawn(lines, theme), encoding="utf-8")


if __name__ == "__main__":
    main()
