"""The daemon: its life (signals, lease, health, drain), and what it does on each tick."""

from __future__ import annotations

from service.worker.life import Daemon

__all__ = ["Daemon"]
