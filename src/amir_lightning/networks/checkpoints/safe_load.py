"""Files of ``torch.save``, of whatever origin."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from amir_lightning.errors import InputError


def load(path: str | Path) -> Any:
    """Read tensors and plain values onto the CPU; nothing in the file is run.

    ``torch.save`` compresses nothing. A file with compressed parts was made by somebody else and
    may unfold to any size, so that it is refused before a byte of it is unpacked.

    Raises:
        InputError: The file has compressed parts.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise InputError(
                f"{path} has compressed parts, which torch.save never writes; expected an "
                "unchanged checkpoint: take one from its source"
            )
    return torch.load(path, map_location="cpu", weights_only=True)
