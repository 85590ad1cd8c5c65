"""Limit on the size that a compressed file may declare, checked before memory is allocated.

A file of a few kilobytes can declare terabytes.
"""

_RATIO = 200  # scans compress by a factor of 2 to 4; deflate itself can reach 1032
_SMALL = 64 << 20  # bytes; always allowed, because an image of one value compresses very well


def max_unpacked_bytes(packed: int) -> int:
    """Largest credible size of compressed data after decompression [bytes].

    Args:
        packed: Size of the compressed data [bytes].
    """
    return max(_SMALL, _RATIO * packed)
