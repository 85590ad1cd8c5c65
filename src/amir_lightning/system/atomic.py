"""Files and folders that are written completely or not at all."""

import contextlib
import errno
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from amir_lightning.errors import InputError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TERMINATED = 128 + signal.SIGTERM


@contextlib.contextmanager
def complete_file(
    path: Path, advice: str = "choose another place with output=<file>"
) -> Iterator[Path]:
    """Yield a temporary file beside ``path``, and rename it to ``path`` if the block succeeds.

    If the block raises, also on Ctrl-C or SIGTERM, the temporary file is removed and the previous
    file stays. Temporary files of killed processes are removed by the next call.

    Args:
        path: Final path; its folder is made if needed.
        advice: Advice for the error message if the file cannot be written.

    Raises:
        InputError: The folder cannot be written, or its disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        _remove_leftovers(path)
        partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
        partial.touch()
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror}); make its folder writable, or {advice}"
        ) from error
    try:
        with _sigterm_as_exit():
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
            _sync_folder(path.parent)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _disk_full(path, shutil.disk_usage(path.parent).free, advice=advice) from error
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def complete_folder(output: Path) -> Iterator[Path]:
    """Yield a hidden temporary folder, and rename it to ``output`` if the block succeeds.

    If ``output`` exists already, the temporary folder lies inside it and its content is moved up:
    a mount point cannot be replaced, and its parent folder may not be writable.

    Args:
        output: New or empty folder.

    Raises:
        InputError: The folder is not empty, or cannot be written.
    """
    hidden, inside = f".{output.name}-", output.is_dir()
    try:
        if output.exists() and not (
            inside and all(_is_leftover(one, hidden) for one in output.iterdir())
        ):
            state = "is not empty" if inside else "is a file"
            raise InputError(
                f"output={output} {state}; type a new or empty folder: output=<folder>"
            )
        if output.is_symlink() and not inside:
            raise InputError(
                f"output={output} is a link to nothing; type a new or empty folder: output=<folder>"
            )
        output.parent.mkdir(parents=True, exist_ok=True)
        place = output if inside else output.parent
        work = Path(tempfile.mkdtemp(dir=place, prefix=hidden))
    except OSError as error:
        raise InputError(
            f"output={output} cannot be written ({error.strerror}); type another output=<folder>"
        ) from error
    try:
        with _sigterm_as_exit():
            yield work
            if inside:
                for path in work.iterdir():
                    path.rename(output / path.name)
            else:
                work.chmod(0o755)
                work.rename(output)
    except OSError as error:
        raise InputError(
            f"writing to {output} failed ({error.strerror or error}); free some space or type "
            "another output=<folder>"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_leftover(path: Path, prefix: str) -> bool:
    """Whether this is a temporary folder of a killed process."""
    return path.name.startswith(prefix) and path.is_dir()


def reserve(
    partial: Path, num_bytes: int, advice: str = "choose another place with output=<file>"
) -> None:
    """Allocate disk space behind the end of a file that is being written.

    HDF5 cannot recover from a failed write: it repeats the write when the file is closed and may
    crash the process. Allocating first turns a full disk into an error message.

    Raises:
        InputError: The disk has less space left than that.
    """
    free = shutil.disk_usage(partial.parent).free
    with partial.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), num_bytes)
        except AttributeError:  # macOS has no posix_fallocate
            if free < num_bytes:
                raise _disk_full(partial, free, num_bytes, advice) from None
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise _disk_full(partial, free, num_bytes, advice) from error


def _sync_folder(folder: Path) -> None:
    """Flush a folder to disk, so that a renamed file survives a power cut."""
    with contextlib.suppress(OSError):  # not every file system syncs folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _disk_full(
    path: Path,
    free: int,
    num_bytes: int | None = None,
    advice: str = "choose another place with output=<file>",
) -> InputError:
    needed = "" if num_bytes is None else f" and {num_bytes / 1e6:.1f} MB more are needed"
    return InputError(
        f"the disk of {path.parent} is full: {free / 1e6:.1f} MB are free{needed}; "
        f"free some space, or {advice}"
    )


def _remove_leftovers(path: Path) -> None:
    prefix = f".{path.name}.partial-"
    for leftover in path.parent.iterdir():  # no glob: the name may contain wildcards
        before, found, owner = leftover.name.partition(prefix)
        if not before and found and owner.isdigit() and not _alive(int(owner)):
            leftover.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # an earlier process had the same id
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Raise SystemExit on SIGTERM, which ends a process without cleaning up by default."""
    if (
        threading.current_thread() is not threading.main_thread()  # others cannot set handlers
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL  # another handler cleans up
    ):
        yield
        return

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(_TERMINATED)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
