"""Checks of the arrays of one patient in a store, before they are read."""

from collections.abc import Mapping

import h5py
import numpy as np

from amir_lightning.io.limits import max_unpacked_bytes

KNOWN = {"truth": np.float32, "organs": np.uint8, "lesions": np.uint8}
"""Arrays of an embedded patient's truth, and their types."""


def is_own(name: str, file: h5py.File) -> bool:
    """Whether content lies in this file: HDF5 allows links, external and virtual datasets."""
    own = isinstance(file.get(name, getlink=True), h5py.HardLink)
    if own and isinstance(file[name], h5py.Dataset):
        own = not file[name].external and not file[name].is_virtual
    return own


def problem_of(arrays: Mapping[str, h5py.Dataset], known: Mapping[str, h5py.Dataset]) -> str | None:
    """Say in which way the arrays of a patient are not as they were written.

    Args:
        arrays: ``lq``, ``hq``, ``split`` and ``slice_index``.
        known: Those of `KNOWN` that the patient has.

    Returns:
        The problem, or None.
    """
    for data in (*arrays.values(), *known.values()):
        if data.size * data.dtype.itemsize > max_unpacked_bytes(data.id.get_storage_size()):
            return "declares more than it holds"
    lq, hq = arrays["lq"], arrays["hq"]
    if 0 in hq.shape:
        return "has no slices or no pixels"
    if lq.shape != hq.shape:
        return f"has LQ of {lq.shape} and HQ of {hq.shape}"
    if {lq.dtype, hq.dtype} != {np.dtype(np.float32)} or not (
        arrays["split"].shape == arrays["slice_index"].shape == hq.shape[:1]
        and all(data.shape == hq.shape for data in known.values())
        and all(data.dtype == KNOWN[name] for name, data in known.items())
    ):
        return "has arrays of other types or lengths"
    return None
