"""The C allocator of this process: large buffers are kept instead of given back and taken again."""

import ctypes
import os
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of malloc.h


def keep_memory() -> bool:
    """Keep freed memory in the process, where glibc manages it; call it before the first step.

    A training step frees and allocates the same buffers as the one before. By default glibc returns
    large ones to the system, and half of a step may go into page faults when they come again.
    AMIR_LIGHTNING_KEEP_MEMORY=0 in the environment leaves the allocator as it is.

    Returns:
        Whether the allocator was told so.
    """
    if os.environ.get("AMIR_LIGHTNING_KEEP_MEMORY") == "0":
        return False
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 64 << 20))
    done = [mallopt(option, value) == 1 for option, value in settings]
    return all(done)
