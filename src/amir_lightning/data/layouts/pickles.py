"""Arrays out of pickles, and nothing else: a pickle is a program, and this runs none.

An unpickler calls whatever function a file names. This one admits only the functions that rebuild a
NumPy array or a torch tensor from bytes.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from amir_lightning.errors import InputError

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
    ("_codecs", "encode"),  # how protocol 2 writes bytes
    ("collections", "OrderedDict"),  # hooks of a tensor, always empty
    ("torch._utils", "_rebuild_tensor_v2"),
}
_STORAGES = {"FloatStorage", "DoubleStorage", "HalfStorage", "ShortStorage", "IntStorage"}


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BufferedIOBase, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage_from_bytes
        if (module, name) not in _ALLOWED and not (module == "torch" and name in _STORAGES):
            raise InputError(
                f"{self._path} asks to run {module}.{name}, which no array needs; nothing was run: "
                "delete the file, it may be malicious"
            )
        return super().find_class(module, name)


def read_array(path: Path) -> NDArray[np.float32]:
    """The array or tensor in a pickled file, or in one of `torch.save`.

    Raises:
        InputError: The file asks for anything but an array, or holds none.
    """
    try:
        if zipfile.is_zipfile(path):
            content = torch.load(path, map_location="cpu", weights_only=True)
        else:
            with path.open("rb") as file:
                content = _ArrayUnpickler(file, path).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle fails anywhere
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} is not a pickled array ({reason}); copy it again or leave it out"
        ) from error
    if isinstance(content, torch.Tensor):
        content = content.detach().cpu().numpy()
    if not isinstance(content, np.ndarray) or content.dtype.kind not in "fiu":
        raise InputError(
            f"{path} holds a {type(content).__name__}; expected an array or tensor of numbers"
        )
    return np.asarray(content, dtype=np.float32)


def _storage_from_bytes(data: bytes) -> Any:
    """A tensor's storage inside a pickle: itself a torch file, which is read as weights only."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
