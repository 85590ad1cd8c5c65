"""Safe reading of files of ``torch.save`` from unknown sources."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from amir_lightning.errors import InputError


def load(path: str | Path) -> Any:
    """Read tensors and plain values onto the CPU; no code of the file is run.

    ``torch.save`` does not compress. A file with compressed parts has another origin and may
    inflate to any size; it is refused before anything is unpacked.

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
