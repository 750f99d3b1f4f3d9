"""What an exception of the driver means: the database is away, or it is a bug of ours."""

from __future__ import annotations

import asyncpg

from service.adapters.postgres.session.faults import translate
from service.domain.errors import DatabaseAwayError

IN_PROGRESS = "cannot perform operation: another operation is in progress"


def raised(*errors: Exception) -> Exception:
    """The last of them, each raised while the one before it was handled."""
    earlier, *later = errors
    for error in later:
        error.__context__ = earlier
        earlier = error
    return earlier


def test_what_a_session_leaves_behind_that_was_ended_between_two_messages_may_work_later() -> None:
    lost = asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is …")
    for error in (
        lost,
        raised(lost, asyncpg.InterfaceError(IN_PROGRESS)),
        raised(lost, asyncpg.InterfaceError(IN_PROGRESS), asyncpg.InterfaceError(IN_PROGRESS)),
        raised(ConnectionResetError(), asyncpg.InterfaceError(IN_PROGRESS)),
    ):
        assert isinstance(translate(error), DatabaseAwayError)


def test_a_wrong_call_stays_a_bug() -> None:
    assert translate(asyncpg.InterfaceError(IN_PROGRESS)) is None
    assert translate(raised(ValueError(), asyncpg.InterfaceError(IN_PROGRESS))) is None
