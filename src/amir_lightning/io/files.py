"""List the files below a folder, and the entries that were left out with the reason."""

import errno
import os
from pathlib import Path

from amir_lightning.io.dicom.series import Damaged, Skipped

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # errors of dead and circular links
_SYSTEM = {"lost+found", "System Volume Information", "$RECYCLE.BIN"}  # made by operating systems


def find_files(folder: Path) -> tuple[list[Path], list[Skipped]]:
    """Find files at any depth, with and without a suffix.

    Links to folders and files are followed. Each real folder is visited once, so that circular
    links end; a folder that lies in `folder` itself keeps its own path.

    Args:
        folder: The folder.

    Returns:
        Sorted files, and entries that were left out; those without read permission are `Damaged`.
    """
    files: list[Path] = []
    skipped: list[Skipped] = []
    seen: set[str] = set()  # real paths of visited folders and of files that are not links
    pending = [(folder, os.path.realpath(folder))]
    folder_links: list[tuple[Path, str]] = []
    file_links: list[Path] = []
    while pending or folder_links:
        # Links last, so that folders and files are found under their own path first.
        path, real = pending.pop() if pending else folder_links.pop(0)
        if real in seen:
            skipped.append(Skipped(path, "folder that is found under another name"))
            continue
        seen.add(real)
        try:
            with os.scandir(path) as entries:
                children = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(_unreadable(path, error))
            continue
        for entry in children:
            child, target = path / entry.name, f"{real.rstrip(os.sep)}{os.sep}{entry.name}"
            if unusable := _unusable(child, entry):
                skipped.append(unusable)
            elif not entry.is_symlink():
                if entry.is_dir():
                    pending.append((child, target))
                else:
                    files.append(child)
                    seen.add(target)
            elif not entry.is_dir():
                file_links.append(child)
            elif real == (target := os.path.realpath(child)) or Path(target) in Path(real).parents:
                skipped.append(Skipped(child, "link to a folder around it"))
            else:
                folder_links.append((child, target))
    for link in file_links:
        if os.path.realpath(link) in seen:
            skipped.append(Skipped(link, "file that is found under another name"))
        else:
            files.append(link)
    return sorted(files), skipped


def subfolders(folder: Path) -> list[Path]:
    """Folders and links to folders in a folder; an empty list if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []


def _unusable(path: Path, entry: os.DirEntry[str]) -> Skipped | None:
    """Reason to leave an entry out, or None for a file or folder to use."""
    if entry.name.startswith("."):
        kind = "folder" if entry.is_dir(follow_symlinks=False) else "file"
        return Skipped(path, f"hidden {kind}")
    try:
        if entry.is_symlink():
            path.stat()
        if entry.is_dir():
            return Skipped(path, "folder of the system") if entry.name in _SYSTEM else None
        return None if entry.is_file() else Skipped(path, "neither file nor folder")
    except OSError as error:
        if entry.is_symlink() and error.errno in _NOT_THERE:
            return Skipped(path, "dead link (fetch its file, as datalad get does)")
        return _unreadable(path, error)


def _unreadable(path: Path, error: OSError) -> Skipped:
    return Damaged(
        path,
        f"{path} cannot be read ({error.strerror}); change its permissions or leave it out",
    )
