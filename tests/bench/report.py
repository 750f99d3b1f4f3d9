"""Lines of figures, each next to what it is to reach."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """Prints as it goes; *scale* shrinks the sizes for a trial."""

    scale: float
    missed: list[str] = field(default_factory=list)
    SEED = 7

    def size(self, full: int) -> int:
        return max(1_000, int(full * self.scale))

    def head(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def line(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        verdict = ""
        if at_least is not None:
            verdict = self._judge(name, value >= at_least, f"reach {at_least:g}")
        if at_most is not None:
            verdict = self._judge(name, value <= at_most, f"at most {at_most:g}")
        figure = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}"
        print(f"  {name:<58} {figure:>12} {unit:<12} {verdict}", flush=True)

    def _judge(self, name: str, held: bool, target: str) -> str:
        if not held:
            self.missed.append(f"{name} ({target})")
        return f"({target}: {'yes' if held else 'NO'})"

    def verdict(self) -> None:
        self.head("all targets reached" if not self.missed else "missed: " + "; ".join(self.missed))
