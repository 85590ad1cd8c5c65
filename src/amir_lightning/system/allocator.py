"""Settings of glibc's memory allocator: keep freed memory, or return it to the system at once.

Each training step allocates the same buffers as the one before. By default glibc returns large
buffers to the system when they are freed, and page faults take a large part of the next step.

Restoring slices of many sizes needs the opposite. Memory that small buffers have left cannot hold
large ones, so keeping it raises the peak.
"""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4  # from malloc.h
_LARGE = 256 * 256


def keep_memory() -> bool:
    """Keep freed memory in the process; call it before the first training step.

    AMIR_LIGHTNING_ALLOCATOR=0 in the environment leaves the allocator as it is.

    Returns:
        Whether the setting was applied.
    """
    return _tell((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 << 20))


def return_memory(pixels: int) -> bool:
    """Return large buffers to the system when they are freed; call it before the first slice.

    Nothing is changed for small slices, whose page faults would cost more than the memory saved.

    Args:
        pixels: Number of pixels of a slice.

    Returns:
        Whether the setting was applied.
    """
    return pixels >= _LARGE and _tell((_MMAP_THRESHOLD, 4 << 20))


def ask_for_huge_pages() -> None:
    """Make torch use huge pages, for fewer page faults; call it before torch is loaded."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _tell(*settings: tuple[int, int]) -> bool:
    if os.environ.get("AMIR_LIGHTNING_ALLOCATOR") == "0":
        return False
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) == 1 for option, value in settings)
