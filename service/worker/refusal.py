"""A key or a permission that Stripe refuses while the daemon runs: a state, not an end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from service.app import keys
from service.domain.errors import FatalError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.adapters.web.metrics import Metrics
    from service.app.accounts import Account
    from service.domain.errors import AccessError
    from service.settings import Settings

log = structlog.get_logger(__name__)

ASK_AGAIN_S = 300.0
"""How long Stripe is left alone with a key that it refuses. Read when it is used, so that tests can shrink it."""


class Refusal:
    """From the first job that Stripe refuses the key until Stripe accepts it again.

    As long as ``is_on``, nothing is read and no lease is held: a daemon with another key may work.
    *current* gives the settings with the key as its file holds it by now.
    """

    def __init__(self, metrics: Metrics, current: Callable[[], Settings]) -> None:
        self._metrics = metrics
        self._current = current
        self.began = asyncio.Event()
        self.why = ""

    @property
    def is_on(self) -> bool:
        return self.began.is_set()

    @property
    def said(self) -> str:
        return f"refused: {self.why}; Stripe is asked again every {ASK_AGAIN_S:g} s"

    def begin(self, error: AccessError) -> None:
        """Several jobs may meet the same refusal: the first one counts."""
        if self.is_on:
            return
        self.why = str(error)
        self._metrics.key_refused = True
        self.began.set()
        log.warning("key.refused", error=self.why, hint=error.hint, ask_again_s=ASK_AGAIN_S)

    async def until_accepted(self, account: Account) -> Account:
        """The account with the key that Stripe accepts. Asks every five minutes, for as long as it takes."""
        while True:
            await asyncio.sleep(ASK_AGAIN_S)
            try:
                account = await keys.accepted(account, self._current())
            except RetryableError as error:
                log.debug("key.not_asked", error=str(error))
            except FatalError as error:
                self._goes_on(error)
            else:
                break
        self._metrics.key_refused, self.why = False, ""
        self.began.clear()
        log.info("key.accepted", account_id=account.id)
        return account

    def _goes_on(self, error: FatalError) -> None:
        if str(error) != self.why:
            self.why = str(error)
            log.warning("key.still_refused", error=self.why, hint=error.hint)
