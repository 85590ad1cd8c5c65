"""Train, restore and compare all-in-one medical image restoration: AMIR on MRI, CT and PET."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amir_lightning.weights.folder import load_pretrained

__all__ = ["load_pretrained"]


def __getattr__(name: str) -> object:
    """Import `load_pretrained` on first use, so that commands start without loading torch."""
    if name != "load_pretrained":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from amir_lightning.weights.folder import load_pretrained

    return load_pretrained
