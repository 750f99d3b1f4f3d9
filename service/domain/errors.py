"""What can go wrong, grouped by what the caller should do about it."""

from __future__ import annotations


class RefundSyncError(Exception):
    """Something that has a name, a way out and an exit code.

    ``str(error)`` says what is wrong; ``hint`` says what to do, or is empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class RetryableError(RefundSyncError):
    """It may work later: wait with jitter, within a bound."""


class FatalError(RefundSyncError):
    """It will not work until somebody changes something: stop, and say what."""


class OutputError(RefundSyncError):
    """The result cannot be written to standard output; what the command did stands."""


class ReaderGoneError(OutputError):
    """The reader of standard output has closed the pipe: the process ends silently, as by SIGPIPE."""

    exit_code = 141


class UsageError(FatalError):
    exit_code = 2


class SettingError(FatalError):
    exit_code = 3


class AccessError(FatalError):
    """Stripe refuses the key (401), or the key lacks a permission (403)."""

    exit_code = 4


class DatabaseError(FatalError):
    """The database stayed unreachable, is too old, or cannot be used as it is."""

    exit_code = 5


class DatabaseAwayError(RetryableError):
    """The database does not answer now: restarting, out of connections, out of reach."""

    exit_code = 5


class SchemaError(DatabaseError):
    """The schema is behind or ahead of this program, or not ours."""


class StripeAwayError(RetryableError):
    """Stripe does not answer, or answers with 429 or 5xx, or with a body cut short."""

    exit_code = 6


class ProtocolError(FatalError):
    """Stripe answered in a way that proves nothing: rising order, no advance, wrong shape."""

    exit_code = 6


class DifferenceError(RefundSyncError):
    """Drift, gaps or breaks were found."""

    exit_code = 7


class LeaseHeldError(FatalError):
    """Another daemon works for this account, and lives."""

    exit_code = 9


class LeaseLostError(LeaseHeldError):
    """Another daemon has taken over: nothing may be committed any more."""


class RefusedError(FatalError):
    """Stripe understood the request and refused it."""

    exit_code = 10


class NotFoundError(FatalError):
    exit_code = 11


STRIPES: tuple[type[RefundSyncError], ...] = (
    StripeAwayError, ProtocolError, RefusedError, NotFoundError,
)  # fmt: skip
"""What may become of one request to Stripe although the next one is answered; the key is not to blame."""
PASSING: tuple[type[RefundSyncError], ...] = (RetryableError, DatabaseError, *STRIPES)
"""What ends a command, but only one job of a daemon, which tries it again at its next tick.

A full disk, a missing grant and an odd answer all pass without a new start. A lost lease and a bug do not.
"""
