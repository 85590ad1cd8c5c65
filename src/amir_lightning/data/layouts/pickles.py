"""Read arrays from pickles without running the code that a pickle can contain.

An unpickler calls any function that a file names. Here NumPy's names are replaced by classes of
this module, which only take bytes and a number type. Of torch, only the function that makes a
tensor from a storage is called. All other names are refused.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from amir_lightning.errors import InputError


class _Dtype:
    """Replacement for `numpy.dtype`, whose pickled state could describe invalid memory."""

    def __init__(self, name: str, *_: object) -> None:
        self.plain = np.dtype(str(name))
        if self.plain.kind not in "fiu":
            raise ValueError(f"its values are of type {name} and not numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.plain = self.plain.newbyteorder(state[1])


class _Array:
    """Replacement for `numpy.ndarray`."""

    array: NDArray[np.generic] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.fill(data, dtype, shape, "F" if fortran else "C")

    def fill(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Any) -> "_Array":
        self.array = np.frombuffer(data, dtype.plain).reshape(shape, order=order)
        return self


def _empty_array(*_: object) -> _Array:
    return _Array()


def _array_from_buffer(
    data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str, *_: object
) -> _Array:
    return _Array().fill(data, dtype, shape, order)


def _latin1(text: str, _encoding: str) -> bytes:
    """Replacement for `codecs.encode`, by which pickle protocol 2 stores bytes."""
    return text.encode("latin1")


def _storage_from_bytes(data: bytes) -> Any:
    """Load a tensor's storage, which is a nested torch file, with ``weights_only``."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


_KNOWN: dict[tuple[str, str], object] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.numeric", "_frombuffer"): _array_from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _array_from_buffer,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): OrderedDict,  # the hooks of a tensor, always empty
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch.storage", "_load_from_bytes"): _storage_from_bytes,
}


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BufferedIOBase, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise InputError(
                f"{self._path} asks to run {module}.{name}, which no array needs; nothing was run: "
                "delete the file, it may be malicious"
            )
        return _KNOWN[module, name]


def read_array(path: Path) -> NDArray[np.float32]:
    """Read the array or tensor in a file of `pickle.dump` or `torch.save`.

    Raises:
        InputError: The file names a function that no array needs, or holds no array.
    """
    try:
        if zipfile.is_zipfile(path):
            content = torch.load(path, map_location="cpu", weights_only=True)
        else:
            with path.open("rb") as file:
                content = _ArrayUnpickler(file, path).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} is not a pickled array ({reason}); copy it again or leave it out"
        ) from error
    if isinstance(content, _Array):
        content = content.array
    if isinstance(content, torch.Tensor):
        content = content.detach().cpu().numpy()
    if not isinstance(content, np.ndarray) or content.dtype.kind not in "fiu":
        raise InputError(
            f"{path} holds a {type(content).__name__}; expected an array or tensor of numbers"
        )
    return np.asarray(content, dtype=np.float32)
