"""Checkpoint files that survive crashes: written aside, renamed when complete, checked by CRC."""

import contextlib
import io
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from amir_lightning.errors import InputError
from amir_lightning.system.atomic import complete_file

_log = logging.getLogger(__name__)

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class WholeCheckpoints(TorchCheckpointIO):
    """Write checkpoints so that a crash at any moment leaves the old file or the new one.

    The former ``last.ckpt`` is kept as ``previous.ckpt``, because some disks lose data that they
    have confirmed as written.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write a checkpoint.

        Raises:
            InputError: The disk is full, or the folder cannot be written.
        """
        path = Path(path)
        # Serialise in memory first: torch hides the reason when writing to a full disk fails.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        advice = "resume with paths.runs_dir=<folder> once the run folder is there"
        with complete_file(path, advice) as partial:
            partial.write_bytes(content.getbuffer())
            if path.name == LAST and path.exists():
                path.replace(path.with_name(PREVIOUS))


def newest_whole(folder: Path) -> Path | None:
    """Return the newest undamaged checkpoint of a folder; None if there are no checkpoints.

    Raises:
        InputError: All checkpoints are damaged.
    """
    written = [path for name in (LAST, PREVIOUS) if (path := folder / name).exists()]
    for path in written:
        if is_whole(path):
            return path
        _log.warning("%s is damaged and is skipped", path)
        with contextlib.suppress(FileNotFoundError):  # another process has renamed it
            path.replace(path.with_suffix(".damaged"))  # so that it never becomes previous.ckpt
    if written:
        raise InputError(
            f"all checkpoints in {folder} are damaged; remove that folder to train again from the "
            "start"
        )
    return None


def is_whole(path: Path) -> bool:
    """Return whether all parts of a checkpoint match their checksums.

    ``torch.save`` writes checksums, and ``torch.load`` does not compare them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False
