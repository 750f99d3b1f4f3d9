"""Commands typed next to a simulated Stripe; a module that needs another Stripe makes its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.shell import NOWHERE, Shell
from tests.acceptance.stage import Stage, Stripe, simulated_stripe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def stripe() -> Iterator[Stripe]:
    with simulated_stripe(refunds=300) as stripe:
        yield stripe


@pytest.fixture
def shell(stripe: Stripe, open_folder: Path, database: str) -> Iterator[Shell]:
    yield Shell(Stage(stripe, open_folder, database))
    stripe.heal()


@pytest.fixture
def shell_without_database(stripe: Stripe, open_folder: Path) -> Shell:
    return Shell(Stage(stripe, open_folder, NOWHERE))
