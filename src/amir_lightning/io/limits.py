"""Sizes that a file declares, looked at before anything of that size is made.

A few kilobytes can declare terabytes. What is not compressed has to be there; what is compressed
unfolds to no more than `max_unpacked_bytes`.
"""

_RATIO = 200  # scans shrink to a half or a fourth; deflate alone could reach 1032
_SMALL = 64 << 20  # bytes that anybody can afford, for images of one value


def max_unpacked_bytes(packed: int) -> int:
    """The most bytes that so many packed ones are believed to hold."""
    return max(_SMALL, _RATIO * packed)
