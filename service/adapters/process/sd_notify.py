"""systemd's notification protocol: one datagram each, to the socket that it named."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Notifier:
    """Tells systemd how we are; silent where it did not start us."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        own = environ.get("WATCHDOG_PID") in {None, str(os.getpid())}
        usec = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / 1e6 if own and usec.isdigit() and int(usec) else None
        """Its watchdog interval in seconds; None where it has none."""

    def notify(self, text: str) -> None:
        """Such as ``READY=1``, ``WATCHDOG=1``, ``STOPPING=1``, ``STATUS=…``; lost where nobody listens."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.setblocking(False)
            try:
                notify.sendto(text.encode(), address)
            except OSError:
                return
