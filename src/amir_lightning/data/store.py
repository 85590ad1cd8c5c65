"""Prepared store: one HDF5 file per task, which any process can read slice by slice.

A store holds one group per patient, named by a hash of the patient's key::

    3f2a9c…/  lq, hq       (S, H, W) float32 in physical units, one chunk per slice
              slice_index  (S,) position along the cut axis of the scan
              split        (S,) index into `SPLITS`
              truth        (S, H, W) float32, embedded patients only: values without noise
              organs       (S, H, W) uint8, where the phantom labels them: index into `names`
              lesions      (S, H, W) uint8, with them: i in lesion i of `kinds` and `values`, else 0
              affine, spacing_mm, source  (attributes)
              parameters   (attribute) what the degradation has drawn for it, such as a dose

A store of another task of the same scans may hold no ``hq``: it names the store beside it whose HQ
it shares, row by row, and the fingerprint of that store.

With chunks of (1, H, W) the bytes of a slice are consecutive. Without compression, one call reads a
slice or only the rows of a patch (see `memmap`); smaller chunks would need many calls.
`store_writer` writes the file; its public names can be imported from here.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from amir_lightning.data.memmap import SliceMap
from amir_lightning.data.splits import SPLITS, Split
from amir_lightning.data.store_check import KNOWN, is_own, problem_of
from amir_lightning.data.store_writer import (
    FORMAT,
    VERSION,
    PreparedPatient,
    Truth,
    patient_id,
    write_store,
)
from amir_lightning.errors import InputError
from amir_lightning.io.volume import Labels, Lesion

__all__ = ["PreparedPatient", "SliceRef", "Store", "Truth", "patient_id", "write_store"]

_ARRAYS = ("lq", "hq", "split", "slice_index")

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


class SliceRef(NamedTuple):
    """Place of one slice pair in the store.

    Attributes:
        patient: Hashed patient id, the name of the group.
        row: Index into the group's arrays.
        slice_index: Position along the cut axis of the scan, for captions and tables.
    """

    patient: str
    row: int
    slice_index: int


class _Patient(NamedTuple):
    shape: tuple[int, int]
    known: set[str]
    refs: dict[Split, list[SliceRef]]


class Store:
    """Reader of a prepared store.

    Each process opens the file at first use, so an instance can be pickled or forked into loader
    workers.

    Attributes:
        path: The HDF5 file.
        task: Name of the task.
        units: Physical units of the pixels.
        value_range: The task's value range when the store was written.
        plane: Orientation of the slices.
        degradation: Parameters and seed of the degradation that simulated LQ.
        source: Kind of data: "scans" or "phantoms".
        drawn: Recipe of the phantoms: version, parameters and seed; None for scans.
        split_kind: "patients" or "slice blocks".
        fingerprint: SHA-256 of everything that a training run reads.
        versions: Versions of the packages that wrote the file.
    """

    def __init__(self, path: Path, task: str | None = None, gives_hq: bool = False) -> None:
        """Open the file and check its attributes; pixels are not read.

        Args:
            path: The HDF5 file.
            task: Name of the expected task; None accepts any.
            gives_hq: Whether another store shares its HQ, which has to lie in this file then.

        Raises:
            InputError: The file is missing, damaged, of another format or of another task.
        """
        self.path = Path(path)
        self._expected = task or self.path.stem
        self._file: h5py.File | None = None
        self._pid = -1
        self._slice_maps: dict[tuple[str, str], SliceMap | None] = {}
        self._patients: dict[str, _Patient] | None = None
        self._base: Store | None = None
        attributes = self._open().attrs
        if attributes.get("format") != FORMAT or attributes.get("version") != VERSION:
            raise self._unusable(f"is not a prepared store of version {VERSION}")
        try:
            self.task = str(attributes["task"])
            self.units = str(attributes["units"])
            low, high = (float(value) for value in attributes["value_range"])
            self.value_range = (low, high)
            self.plane = str(attributes["plane"])
            self.degradation: dict[str, object] = json.loads(attributes["degradation"])
            self.source = str(attributes["source"])
            self.drawn: dict[str, object] | None = json.loads(attributes.get("drawn", "null"))
            self.split_kind = str(attributes["split_kind"])
            self.fingerprint = str(attributes["fingerprint"])
            self.versions: dict[str, str] = json.loads(attributes["versions"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._unusable(f"lacks a valid attribute ({error})") from error
        if task is not None and self.task != task:
            raise self._unusable(f"holds the task {self.task}, expected {task}")
        if (name := attributes.get("hq_file")) is not None:
            if gives_hq:  # two files could refer to each other
                raise self._unusable("has no HQ that another file could share")
            self._base = self._open_base(str(name), attributes.get("hq_fingerprint"))

    @property
    def shares_hq(self) -> bool:
        """Whether HQ lies in the store of another task."""
        return self._base is not None

    def patients(self, split: Split) -> list[str]:
        """Hashed ids of the patients with a slice in the split, sorted."""
        return [key for key, patient in self._index().items() if patient.refs[split]]

    def slices(self, split: Split) -> list[SliceRef]:
        """All slices of a split, sorted by patient and position."""
        return [ref for patient in self._index().values() for ref in patient.refs[split]]

    def shape(self, ref: SliceRef) -> tuple[int, int]:
        """Height and width of a slice."""
        return self._index()[ref.patient].shape

    def affine(self, patient: str) -> NDArray[np.float64]:
        """4x4 matrix from (column, row, slice_index, 1) to world millimetres (RAS+)."""
        return np.asarray(self._open()[patient].attrs["affine"], dtype=np.float64)

    def spacing_mm(self, patient: str) -> tuple[float, float, float]:
        """Distance between slices, rows and columns [mm]."""
        slices, rows, columns = self._open()[patient].attrs["spacing_mm"]
        return float(slices), float(rows), float(columns)

    def parameters(self, patient: str) -> dict[str, float]:
        """Parameters of the degradation that were drawn for a patient; empty if none were.

        Raises:
            InputError: The file is damaged at this place.
        """
        try:
            found = json.loads(self._open()[patient].attrs.get("parameters", "{}"))
            return {str(name): float(value) for name, value in found.items()}
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._unusable(f"is damaged at the parameters of patient {patient}") from error

    def read(self, ref: SliceRef) -> Pair:
        """Read LQ and HQ of one slice, (H, W) each, in physical units.

        Raises:
            InputError: The file is damaged at this place.
        """
        height, width = self.shape(ref)
        return self._read(ref, slice(0, height), slice(0, width))

    def crop(self, ref: SliceRef, top: int, left: int, size: int) -> Pair:
        """Read the same window of LQ and HQ, (size, size) each, in physical units.

        Raises:
            InputError: The file is damaged at this place.
        """
        return self._read(ref, slice(top, top + size), slice(left, left + size))

    def truth(self, ref: SliceRef) -> Truth | None:
        """What one slice shows, (H, W) each; None of real scans and of stores without it.

        Raises:
            InputError: The file is damaged at this place.
        """
        known, group = self._index()[ref.patient].known, self._open()[ref.patient]
        if "truth" not in known:
            return None
        try:
            values = group["truth"][ref.row]
            if not {"organs", "lesions"} <= known:
                return Truth(values, None)
            organs, lesions = group["organs"], group["lesions"]
            names, kinds, nominal = (
                json.loads(array.attrs[key])
                for array, key in ((organs, "names"), (lesions, "kinds"), (lesions, "values"))
            )
            pairs = zip(kinds, nominal, strict=True)
            found = tuple(Lesion(str(kind), float(value)) for kind, value in pairs)
            labels = Labels(organs[ref.row], lesions[ref.row], tuple(names), found)
            return Truth(values, labels)
        except Exception as error:  # what is not as it was written fails anywhere
            raise self._unusable(f"is damaged at the truth of patient {ref.patient}") from error

    def _read(self, ref: SliceRef, rows: slice, columns: slice) -> Pair:
        lq, hq = (self._read_one(ref, array, rows, columns) for array in ("lq", "hq"))
        return lq, hq

    def _read_one(
        self, ref: SliceRef, array: str, rows: slice, columns: slice
    ) -> NDArray[np.float32]:
        if array == "hq" and self._base is not None:
            return self._base._read_one(ref, array, rows, columns)
        file, key = self._open(), (ref.patient, array)
        try:
            if key not in self._slice_maps:
                self._slice_maps[key] = SliceMap.of(file[ref.patient][array])
            slice_map = self._slice_maps[key]
            if slice_map is not None:
                return slice_map.read(ref.row, rows, columns)
            return file[ref.patient][array][ref.row, rows, columns]
        except (OSError, RuntimeError) as error:
            raise self._unusable(f"is damaged at patient {ref.patient}") from error

    def _open(self) -> h5py.File:
        """Open the file in this process: a forked handle would share its position with others."""
        if self._file is None or self._pid != os.getpid():
            if not self.path.is_file():
                raise self._unusable("does not exist")
            try:
                # The file never changes once it exists, and locks often fail on NFS.
                self._file = h5py.File(self.path, "r", locking=False)
            except OSError as error:
                raise self._unusable(f"is truncated or not HDF5 ({error})") from error
            self._pid, self._slice_maps = os.getpid(), {}
        return self._file

    def _open_base(self, name: str, fingerprint: object) -> "Store":
        """Open the store whose HQ this one shares; it lies in the same folder."""
        if Path(name).name != name:
            raise self._unusable(f"shares HQ with {name}, which is not beside it")
        base = Store(self.path.with_name(name), gives_hq=True)
        if base.fingerprint != fingerprint:
            raise self._unusable(f"shares HQ with {name}, which was prepared anew since")
        return base

    def _index(self) -> dict[str, _Patient]:
        if self._patients is None:
            try:
                file = self._open()
                self._patients = {key: self._index_patient(key, file) for key in sorted(file)}
            except InputError:
                raise
            except Exception as error:  # a damaged file can make h5py raise anything
                raise self._unusable(f"is damaged ({error})") from error
        return self._patients

    def _index_patient(self, key: str, file: h5py.File) -> _Patient:
        self._check_own(key, file)
        known = {array for array in KNOWN if array in file[key]}
        own = [array for array in _ARRAYS if array != "hq" or self._base is None]
        for array in (*own, *known):
            self._check_own(f"{key}/{array}", file)
        arrays = {array: file[key][array] for array in own}
        if self._base is not None:
            if key not in self._base._index():
                raise self._unusable(f"shares HQ with {self._base.path}, which lacks patient {key}")
            arrays["hq"] = self._base._open()[key]["hq"]
        problem = problem_of(arrays, {array: file[key][array] for array in known})
        if problem is not None:
            raise self._unusable(f"{problem} for patient {key}")
        _, height, width = arrays["hq"].shape
        refs: dict[Split, list[SliceRef]] = {name: [] for name in SPLITS}
        codes, positions = arrays["split"][:], arrays["slice_index"][:]
        for row in np.argsort(positions, kind="stable"):
            refs[SPLITS[codes[row]]].append(SliceRef(key, int(row), int(positions[row])))
        return _Patient(shape=(height, width), known=known, refs=refs)

    def _check_own(self, name: str, file: h5py.File) -> None:
        if not is_own(name, file):
            raise self._unusable(f"refers to other data at {name}, which a store never does")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None, "_pid": -1, "_slice_maps": {}}

    def _unusable(self, problem: str) -> InputError:
        return InputError(
            f"{self.path} {problem}; prepare it with "
            f"`python -m amir_lightning.prepare task={self._expected} raw_dir=<folder of scans>`"
        )
