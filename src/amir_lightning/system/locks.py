"""One process at a time: locks that the system frees when their owner dies, however it dies."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from amir_lightning.errors import InputError

_log = logging.getLogger(__name__)
_HELD = {errno.EACCES, errno.EAGAIN}


class Taken(InputError):
    """Another process holds the lock; its exit status tells a queue to try another job."""

    status = 75  # EX_TEMPFAIL


@contextlib.contextmanager
def locked(
    path: Path,
    purpose: str,
    wait: bool = False,
    advice: str = "choose another place with paths.data_dir=<folder>",
) -> Iterator[bool]:
    """Hold a lock file for the length of a block; it is removed afterwards.

    The lock is one of the kernel's (POSIX, shared by the clients of a network file system): it ends
    with its process, so that nobody has to judge whether an owner is dead.

    Args:
        path: The lock file; its folder is made.
        purpose: What the owner does, for the messages.
        wait: Whether to wait until the owner is done.
        advice: What to do if the folder cannot be written.

    Yields:
        Whether there was somebody to wait for.

    Raises:
        InputError: The file cannot be written.
        Taken: Another process holds it, and waiting was not asked for.
    """
    made = not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file, waited = _acquire(path, purpose, wait)
    except OSError as error:
        raise InputError(
            f"{path.parent} cannot be written ({error.strerror}); make it writable, or {advice}"
        ) from error
    try:
        yield waited
    finally:
        path.unlink(missing_ok=True)
        file.close()
        if made:
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # nothing came of it


def _acquire(path: Path, purpose: str, wait: bool) -> tuple[IO[str], bool]:
    waited = False
    while True:
        file = path.open("a+")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _owner(file)
            file.close()
            if error.errno not in _HELD:
                _log.warning(
                    "the file system of %s has no locks (%s): start no second process that is "
                    "%s there",
                    path.parent,
                    error.strerror,
                    purpose,
                )
                return path.open("a+"), waited
            if not wait:
                raise Taken(
                    f"{owner} is {purpose}; wait until it has finished, or stop it"
                ) from error
            if not waited:
                _log.info("waiting: %s is %s", owner, purpose)
            waited = True
            time.sleep(0.5)
            continue
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # its owner removed it while we opened it
    file.truncate(0)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    json.dump({"pid": os.getpid(), "host": platform.node(), "since": since}, file)
    file.flush()
    return file, waited


def _owner(file: IO[str]) -> str:
    file.seek(0)
    with contextlib.suppress(ValueError, KeyError):
        owner = json.load(file)
        return f"process {owner['pid']} of {owner['host']} since {owner['since']}"
    return "another process"
