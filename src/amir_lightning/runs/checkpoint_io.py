"""Checkpoint files that are whole or not there: written aside, synced, renamed, checked by CRC."""

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
    """Writes a checkpoint so that a crash at any moment leaves the old file or the new one.

    What was ``last.ckpt`` stays beside the new one as ``previous.ckpt``: a second chance for disks
    that lose what they had confirmed.
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
        content = io.BytesIO()  # writing straight to a full disk hides the reason in torch
        torch.save(checkpoint, content)
        advice = "resume with paths.runs_dir=<folder> once the run folder is there"
        with complete_file(path, advice) as partial:
            partial.write_bytes(content.getbuffer())
            if path.name == LAST and path.exists():
                path.replace(path.with_name(PREVIOUS))


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint of a folder that reads as it was written; None if there is none.

    Raises:
        InputError: There are checkpoints, and all are damaged.
    """
    written = [path for name in (LAST, PREVIOUS) if (path := folder / name).exists()]
    for path in written:
        if is_whole(path):
            return path
        _log.warning("%s is damaged and is skipped", path)
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            path.replace(path.with_suffix(".damaged"))  # never in the place of a whole one
    if written:
        raise InputError(
            f"all checkpoints in {folder} are damaged; remove that folder to train again from the "
            "start"
        )
    return None


def is_whole(path: Path) -> bool:
    """Whether every part of a checkpoint has the checksum that was stored beside it.

    ``torch.load`` does not look at the checksums that ``torch.save`` writes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False
