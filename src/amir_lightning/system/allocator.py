"""The C allocator of this process, where it is glibc's: keep freed memory, or return it at once.

A training step frees and takes the same buffers as the one before. By default glibc returns large
ones to the system, and a large part of a step goes into page faults when they come again. In
restoring slices of many sizes the opposite costs: what small buffers leave behind cannot be used by
large ones, and adds to the peak.
"""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4  # of malloc.h
_LARGE = 256 * 256


def keep_memory() -> bool:
    """Keep freed memory in the process; call it before the first training step.

    AMIR_LIGHTNING_ALLOCATOR=0 in the environment leaves the allocator as it is.

    Returns:
        Whether the allocator was told so.
    """
    return _tell((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 << 20))


def return_memory(pixels: int) -> bool:
    """Return large buffers to the system when they are freed; call it before the first slice.

    Their page faults cost more than they save where slices are small, so that nothing is done then.

    Args:
        pixels: Pixels of a slice.

    Returns:
        Whether the allocator was told so.
    """
    return pixels >= _LARGE and _tell((_MMAP_THRESHOLD, 4 << 20))


def ask_for_huge_pages() -> None:
    """Let torch ask for huge pages, which are few page faults; call it before torch is loaded."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _tell(*settings: tuple[int, int]) -> bool:
    if os.environ.get("AMIR_LIGHTNING_ALLOCATOR") == "0":
        return False
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) == 1 for option, value in settings)
