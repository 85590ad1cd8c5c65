"""Lock files that admit one process at a time and end with their process, however it ends.

These are POSIX locks, which a network file system shares among its clients. The package filelock
takes flock locks, which NFS mounts with local_lock=flock keep within one machine. Where a file
system has none, filelock falls back to a marker file, and an owner that is killed on another
machine leaves this file behind.
"""

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
    """Another process holds the lock; the exit status tells a job queue to try again later."""

    status = 75  # EX_TEMPFAIL


@contextlib.contextmanager
def locked(
    path: Path,
    purpose: str,
    wait: bool = False,
    advice: str = "choose another place with paths.data_dir=<folder>",
) -> Iterator[bool]:
    """Hold a lock file during a block, and remove it afterwards.

    Args:
        path: Lock file; its folder is made if needed.
        purpose: What the owner is doing, for messages: "training <run>".
        wait: Whether to wait until another owner has finished.
        advice: Advice for the error message if the folder cannot be written.

    Yields:
        Whether another process held the lock before.

    Raises:
        InputError: The file cannot be written.
        Taken: Another process holds the lock, and `wait` is false.
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
                path.parent.rmdir()  # the block has written nothing


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
        file.close()  # its owner removed the file while we opened it
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
