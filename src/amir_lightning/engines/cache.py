"""The user's own folder of compiled programs.

A compiled program runs as code does. It is therefore read from nowhere else, and never from a
weights folder: the folder has to belong to the user, and nobody else may be able to write to it.
"""

import contextlib
import hashlib
import logging
import os
from pathlib import Path

from amir_lightning.errors import InputError
from amir_lightning.system.atomic import complete_file

log = logging.getLogger(__name__)

_KEPT = 16  # programs; the one that was not used for the longest time goes first
_DIGEST = hashlib.sha256().digest_size


def cache_folder(typed: str | None) -> Path:
    """Folder of a user's compiled programs.

    Args:
        typed: What the user typed for it; None for the usual place.
    """
    if typed is not None:
        return Path(typed) / "programs"
    usual = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(usual).expanduser() / "amir_lightning" / "programs"


def read_program(folder: Path, key: str) -> bytes | None:
    """Read a program; None if there is none that can be trusted and is complete."""
    if _distrust(folder):
        return None
    path = folder / key
    try:
        content = path.read_bytes()
        os.utime(path)  # it was used now
    except OSError:
        return None
    digest, program = content[:_DIGEST], content[_DIGEST:]
    return program if hashlib.sha256(program).digest() == digest else None


def write_program(folder: Path, key: str, program: bytes) -> None:
    """Write a program for the next time, or say why the next time will compile it anew."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if reason := _distrust(folder):
            raise InputError(reason)
        with complete_file(folder / key, "type another paths.cache_dir=<folder>") as partial:
            partial.write_bytes(hashlib.sha256(program).digest() + program)
    except (OSError, InputError) as error:
        log.warning(
            "the compiled program is not kept, the next command compiles it anew: %s", error
        )
        return
    programs = [path for path in folder.iterdir() if not path.name.startswith(".")]
    with contextlib.suppress(OSError):  # another command may have removed one
        for path in sorted(programs, key=lambda one: one.stat().st_mtime)[:-_KEPT]:
            path.unlink()


def _distrust(folder: Path) -> str | None:
    """Say why programs in a folder may be somebody else's; None if they are the user's."""
    try:
        state = folder.stat()
    except OSError:
        return None  # there is nothing to read
    if state.st_uid != os.geteuid() or state.st_mode & 0o022:
        return (
            f"{folder} belongs to another user or can be written by others; type chmod go-w "
            f"{folder}, or another paths.cache_dir=<folder>"
        )
    return None
