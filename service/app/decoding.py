"""How refunds are decoded under the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.adapters.stripe.objects.decode import Decoder

if TYPE_CHECKING:
    from collections import Counter

    from service.settings import Settings


def decoder_of(settings: Settings, masked: Counter[str] | None = None) -> Decoder:
    """A decoder that counts in *masked* what it masks."""
    choice = settings.metadata_choice
    return Decoder(choice.kept, unmasked=choice.unmasked, masked=masked)
