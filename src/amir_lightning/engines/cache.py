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
_OF_WEIGHTS = ("model.safetensors", "run.json")  # in exported folders and in those of runs
_DIGEST = hashlib.sha256().digest_size


def cache_folder(typed: str | None) -> Path | None:
    """Folder of a user's compiled programs; None for a user without a home.

    Args:
        typed: What the user typed for it; None for the usual place.

    Raises:
        InputError: The typed folder came with weights, or lies in one that did.
    """
    if typed is not None:
        folder = Path(typed).resolve()
        for place in (folder, *folder.parents):
            if any(is_kept(place, name) for name in _OF_WEIGHTS):
                raise InputError(
                    f"paths.cache_dir is {typed}, in the folder of weights {place}, which is no "
                    "place for programs; type another paths.cache_dir=<folder>, or leave it out"
                )
        return folder / "programs"
    usual = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(usual).expanduser() / "amir_lightning" / "programs"
    except RuntimeError:
        log.info("compiled programs are not kept: there is no home; type paths.cache_dir=<folder>")
        return None


def is_kept(folder: Path, name: str) -> bool:
    """Tell whether a folder has a file; whether its content can be trusted is another question."""
    try:
        return (folder / name).exists()
    except OSError:  # the folder cannot be searched
        return False


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
        with contextlib.suppress(OSError):  # said below, with what to do
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
