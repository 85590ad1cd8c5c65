"""Read windows of uncompressed slices without the HDF5 library.

If every slice is one uncompressed chunk, the rows of a window are consecutive bytes. HDF5 would
read the whole chunk and copy the window; one system call reads only its rows.
"""

import os
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray


class SliceMap:
    """Byte offsets of the slices of one HDF5 dataset (S, H, W), to read windows of them.

    Args:
        file_descriptor: Descriptor of the open file.
        offsets: Byte offset of each slice in the file, (S,).
        width: Pixels per row.
    """

    def __init__(self, file_descriptor: int, offsets: NDArray[np.int64], width: int) -> None:
        self._descriptor = file_descriptor
        self._offsets = offsets
        self._width = width

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> Self | None:
        """Map a dataset; None if its slices are not plain consecutive float32 in the file."""
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
            return None  # chunks were never written, and only HDF5 knows their fill value
        offsets = np.array([found[row] for row in range(count)], dtype=np.int64)
        return cls(file.id.get_vfd_handle(), offsets, dataset.shape[2])

    def read(self, row: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Read one window of a slice.

        Raises:
            OSError: The file ends inside the window.
        """
        window = np.empty((rows.stop - rows.start, self._width), dtype="<f4")
        start = int(self._offsets[row]) + rows.start * self._width * window.itemsize
        if os.preadv(self._descriptor, [window.data], start) != window.nbytes:
            raise OSError("the file ends in the middle of a slice")
        return window[:, columns]
