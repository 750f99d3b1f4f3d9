"""The standard streams of a process, which its caller may have closed, filled or encoded in any way.

Data that cannot be written is an error. Logs and messages that cannot be written cost nothing.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from service.domain.errors import OutputError, ReaderGoneError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDIN, STDOUT, STDERR = 0, 1, 2
_MODES = {STDIN: os.O_RDONLY, STDOUT: os.O_RDONLY, STDERR: os.O_WRONLY}
"""How /dev/null is opened in place of a closed one: to write to a closed stdout stays an error."""


class _Data(io.FileIO):
    """Raises errors that no adapter mistakes for a lost connection."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise ReaderGoneError("nobody reads standard output any more") from None
        except OSError as error:
            raise OutputError(f"cannot write to standard output: {error.strerror}") from error


class _Messages(io.FileIO):
    """Drops what cannot be written: the work goes on, and its exit code stays its own."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            written: int | None = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written


def open_standard_streams() -> None:
    """Makes descriptors 0, 1 and 2 exist, so that no file or socket takes their place; then opens them.

    Streams that the caller replaced within this process stay.
    """
    for descriptor in (STDIN, STDOUT, STDERR):
        _occupy(descriptor)
    if sys.stdin is None:
        sys.stdin = open(STDIN, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stdout is sys.__stdout__:
        data = _Data(STDOUT, "w", closefd=False)
        sys.stdout = _text_over(data, sys.stdout, line_buffering=data.isatty())
    if sys.stderr is sys.__stderr__:
        messages = _Messages(STDERR, "w", closefd=False)
        sys.stderr = _text_over(messages, sys.stderr, line_buffering=True)


def _occupy(descriptor: int) -> None:
    """Opens /dev/null as *descriptor*, for child processes too, where that is closed.

    Those below it are open, so it is the lowest free one, which the system hands out.
    """
    try:
        os.fstat(descriptor)
    except OSError:
        os.set_inheritable(os.open(os.devnull, _MODES[descriptor]), True)


def _text_over(raw: io.FileIO, before: TextIO | None, *, line_buffering: bool) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",
        line_buffering=line_buffering,
    )


def drop_output() -> None:
    """What is still buffered for stdout goes nowhere: the flush at exit cannot fail any more."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STDOUT)
    os.close(null)


def takes_any_text(stream: TextIO) -> bool:
    """False where JSON must be ASCII: a character escaped by the stream itself would break it."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name == "utf-8"
