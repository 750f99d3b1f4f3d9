"""Every parameter that the libpq of this machine knows is known here, by the same variable."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from service.adapters.postgres.address.parameters import LIBPQ
from service.adapters.postgres.server.binaries import _of_system, _of_wheels


class Option(ctypes.Structure):
    _fields_ = (
        ("keyword", ctypes.c_char_p), ("envvar", ctypes.c_char_p), ("compiled", ctypes.c_char_p),
        ("value", ctypes.c_char_p), ("label", ctypes.c_char_p), ("shown", ctypes.c_char_p),
        ("size", ctypes.c_int),
    )  # fmt: skip


def libraries() -> list[Path]:
    folders = [binaries.folder.parent / "lib" for binaries in (*_of_wheels(), *_of_system())]
    found = [file for folder in folders for file in folder.glob("libpq.so.5")]
    return found + sorted(Path("/usr/lib").glob("*/libpq.so.5"))


def test_no_parameter_of_libpq_is_missing() -> None:
    found = libraries()
    if not found:
        pytest.skip("no libpq is here")
    for file in found:
        library = ctypes.CDLL(str(file))
        library.PQconndefaults.restype = ctypes.POINTER(Option)
        options = library.PQconndefaults()
        place = 0
        while name := options[place].keyword:
            variable = (options[place].envvar or b"").decode()
            assert LIBPQ[name.decode()] == variable, name
            place += 1
        assert place > 30
