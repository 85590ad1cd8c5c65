"""SliceMap of uncompressed slices, read at their place in the file.

Where every slice is a chunk of its own and nothing is compressed, a window is a run of bytes. HDF5
reads the whole chunk and copies the window out of it; one system call reads its rows alone.
"""

import os
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray


class SliceMap:
    """Reads windows of one dataset (S, H, W) past the HDF5 library.

    Args:
        file_descriptor: Of the open file.
        offsets: Byte at which each slice begins, (S,).
        width: Pixels of a row.
    """

    def __init__(self, file_descriptor: int, offsets: NDArray[np.int64], width: int) -> None:
        self._descriptor = file_descriptor
        self._offsets = offsets
        self._width = width

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> Self | None:
        """The windows of a dataset; None if its slices do not lie in the file as they are."""
        file, count = dataset.file, dataset.shape[0]
        plain = (
            hasattr(os, "preadv")
            and file.driver == "sec2"
            and file.userblock_size == 0
            and dataset.dtype == np.dtype("<f4")
            and dataset.chunks == (1, *dataset.shape[1:])
            and dataset.id.get_create_plist().get_nfilters() == 0
        )
        if not plain:
            return None
        found: dict[int, int] = {}
        dataset.id.chunk_iter(
            lambda chunk: found.__setitem__(chunk.chunk_offset[0], chunk.byte_offset)
        )
        if sorted(found) != list(range(count)):
            return None  # HDF5 knows what stands for chunks that were never written
        offsets = np.array([found[row] for row in range(count)], dtype=np.int64)
        return cls(file.id.get_vfd_handle(), offsets, dataset.shape[2])

    def read(self, row: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        """One window of a slice.

        Raises:
            OSError: The file ends before the window does, where HDF5 would read zeros.
        """
        window = np.empty((rows.stop - rows.start, self._width), dtype="<f4")
        start = int(self._offsets[row]) + rows.start * self._width * window.itemsize
        if os.preadv(self._descriptor, [window.data], start) != window.nbytes:
            raise OSError("the file ends in the middle of a slice")
        return window[:, columns]
