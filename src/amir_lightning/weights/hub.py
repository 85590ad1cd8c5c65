"""Weights by a hub name, such as ``user/amir``."""

from collections.abc import Sequence
from pathlib import Path

from amir_lightning.config import shipped_in_words
from amir_lightning.errors import InputError


def from_hub(name: str, files: Sequence[str]) -> Path:
    """Download some files of a hub name once, and return their folder.

    Raises:
        InputError: It is no hub name, is not found, or a package is missing.
    """
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise InputError(
            f"{name} is not a folder; expected a weights folder, or a hub name such as user/amir, "
            f"or {shipped_in_words()}"
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise InputError(
            f"{name} is not a folder, and hub names need one more package; "
            'type pip install "amir-lightning[hub]"'
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=[*files]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"{name} is neither a folder nor found on the hub ({first}); check the name and the "
            "connection, or give a folder"
        ) from error
