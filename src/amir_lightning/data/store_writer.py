"""Write a prepared store patient by patient; the file appears only when it is complete."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from amir_lightning.data.splits import SPLITS, Split, SplitKind, assert_disjoint
from amir_lightning.errors import InputError
from amir_lightning.io.volume import Labels
from amir_lightning.system.atomic import complete_file, reserve
from amir_lightning.system.versions import version_of
from amir_lightning.system.wording import counted
from amir_lightning.tasks import Task

FORMAT = "amir-lightning prepared slices"
VERSION = 1

Compression = Literal["lzf"]

_PACKAGES = ("amir-lightning", "h5py", "nibabel", "numpy", "pydicom", "torch")
_HEADERS = 1 << 16  # space for a group, its attributes and the chunk index [bytes]


class Truth(NamedTuple):
    """True values and labels of an embedded patient; no training reads them.

    Attributes:
        values: Slices without noise and blurring in physical units, (S, H, W).
        labels: Organs and lesions of the same slices; None if the phantom draws none.
    """

    values: NDArray[np.float32]
    labels: Labels | None


class PreparedPatient(NamedTuple):
    """Slice pairs of one patient.

    Attributes:
        patient_key: Identifies the patient in the raw data; only its hash is stored.
        lq: Low-quality slices in physical units, (S, H, W).
        hq: High-quality slices in physical units, (S, H, W).
        slice_index: Position of each slice along the cut axis of the scan, (S,).
        split: Split of each slice.
        affine: 4x4 matrix from (column, row, slice_index, 1) to world millimetres (RAS+).
        spacing_mm: Distance between slices, rows and columns [mm].
        source: Origin of the scan, without patient names.
        truth: Values without noise and labels, of embedded patients only.
        parameters: Parameters of the degradation that were drawn for this patient, by name.
    """

    patient_key: str
    lq: NDArray[np.float32]
    hq: NDArray[np.float32]
    slice_index: NDArray[np.integer]
    split: Sequence[Split]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    source: str
    truth: Truth | None = None
    parameters: Mapping[str, float] = MappingProxyType({})


def patient_id(patient_key: str, salt: str = "") -> str:
    """Name of a patient in the store and in tables: 12 hex digits of SHA-256.

    Args:
        patient_key: The patient's key.
        salt: Secret that is hashed with the key, so that the key cannot be guessed.
    """
    name = (salt + patient_key).encode(errors="surrogateescape")  # keys may be undecodable names
    return hashlib.sha256(name).hexdigest()[:12]


def write_store(
    path: Path,
    task: Task,
    patients: Iterable[PreparedPatient],
    *,
    degradation: Mapping[str, object],
    source: str,
    split_kind: SplitKind,
    drawn: Mapping[str, object] | None = None,
    compression: Compression | None = None,
    salt: str = "",
    hq_of: tuple[str, str] | None = None,
) -> None:
    """Write all patients into one HDF5 file; only one patient is in memory at a time.

    Args:
        path: Target; replaced when the new file is complete.
        task: Task of the pairs; its units, value range and plane are recorded.
        patients: Patients in any order; the fingerprint depends neither on it nor on the truth,
            nor on recorded parameters.
        degradation: Parameters and seed of the degradation that simulated LQ.
        source: Kind of data, "scans" or "phantoms".
        split_kind: Whether patients or slice blocks were split.
        drawn: Recipe of the phantoms; None for scans.
        compression: None allows patches to be read without the rest of the slice. "lzf" (with byte
            shuffle) decompresses whole slices, which is many times slower; it saves 70 % of
            integer-valued HQ but only 10 to 25 % of LQ.
        salt: Secret that is hashed with the patients' keys.
        hq_of: File name and fingerprint of a store in the same folder whose HQ is the same, row by
            row; HQ is then not written. None writes it.

    Raises:
        InputError: There is no patient, the disk is full, or a patient occurs twice, is in two
            splits although patients were split, or has arrays that do not match or are not finite.
    """
    header = {
        "task": task.name,
        "units": task.units,
        "value_range": list(task.value_range),
        "plane": task.plane,
        "degradation": json.dumps(dict(degradation), sort_keys=True),
        "split_kind": split_kind,
    }
    with complete_file(path) as partial, h5py.File(partial, "w", libver="v110") as file:
        digests: dict[str, bytes] = {}
        for patient in patients:
            key = patient_id(patient.patient_key, salt)
            _check(patient, split_kind)
            if key in digests:
                raise InputError(
                    f"patient {patient.patient_key} occurs twice; expected one scan per patient: "
                    "leave one of them out or rename it"
                )
            images = {"lq": patient.lq} if hq_of else {"lq": patient.lq, "hq": patient.hq}
            arrays = (*images.values(), *_known(patient).values())
            reserve(partial, sum(array.nbytes for array in arrays) + _HEADERS)
            _write(file.create_group(key), patient, images, compression)
            digests[key] = _digest(patient)
        if not digests:
            raise InputError(f"there is no patient to write into {path}; expected at least one")
        reserve(partial, _HEADERS)
        content = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for key in sorted(digests):
            content.update(key.encode() + digests[key])
        versions = {name: version_of(name) for name in _PACKAGES}
        file.attrs.update(header)
        file.attrs.update(
            format=FORMAT,
            version=VERSION,
            source=source,
            drawn=json.dumps(drawn, sort_keys=True),
            fingerprint=content.hexdigest(),
            versions=json.dumps(versions),
        )
        if hq_of:
            file.attrs["hq_file"], file.attrs["hq_fingerprint"] = hq_of


def _write(
    group: h5py.Group,
    patient: PreparedPatient,
    images: Mapping[str, NDArray[np.float32]],
    compression: Compression | None,
) -> None:
    for name, array in images.items():
        group.create_dataset(
            name,
            data=array,
            dtype=np.float32,
            chunks=(1, *array.shape[1:]),
            compression=compression,
            shuffle=compression is not None,
        )
    for name, known in _known(patient).items():
        group.create_dataset(
            name,
            data=known,
            dtype=np.float32 if name == "truth" else np.uint8,
            chunks=(1, *known.shape[1:]),
            compression="lzf",
            shuffle=True,
        )
    if patient.truth is not None and patient.truth.labels is not None:
        labels = patient.truth.labels
        group["organs"].attrs["names"] = json.dumps(labels.organ_names)
        group["lesions"].attrs["kinds"] = json.dumps([found.kind for found in labels.lesion_list])
        group["lesions"].attrs["values"] = json.dumps([found.value for found in labels.lesion_list])
    group["slice_index"] = np.asarray(patient.slice_index, dtype=np.int32)
    group["split"] = _codes(patient)
    group.attrs["affine"] = patient.affine
    group.attrs["spacing_mm"] = patient.spacing_mm
    group.attrs["source"] = patient.source
    if patient.parameters:
        group.attrs["parameters"] = json.dumps(dict(patient.parameters), sort_keys=True)


def _known(patient: PreparedPatient) -> dict[str, NDArray[np.float32] | NDArray[np.uint8]]:
    """The arrays of a patient's truth, by their names in the file."""
    if patient.truth is None:
        return {}
    values, labels = patient.truth
    if labels is None:
        return {"truth": values}
    return {"truth": values, "organs": labels.organs, "lesions": labels.lesions}


def _check(patient: PreparedPatient, split_kind: SplitKind) -> None:
    key, lq, hq = patient.patient_key, patient.lq, patient.hq
    if lq.shape != hq.shape or hq.ndim != 3 or 0 in hq.shape:
        raise InputError(
            f"patient {key} has LQ slices of {lq.shape} and HQ slices of {hq.shape}; "
            "expected the same (slices, height, width): resample one onto the grid of the other"
        )
    for name, known in _known(patient).items():
        if known.shape != hq.shape:
            raise InputError(
                f"patient {key} has {name} of {known.shape} and HQ slices of {hq.shape}; expected "
                "the same: let the phantom draw its labels on the grid of its image"
            )
    if not len(hq) == len(patient.slice_index) == len(patient.split):
        raise InputError(
            f"patient {key} has {counted('slice', len(hq))}, "
            f"{counted('position', len(patient.slice_index))} and "
            f"{counted('split', len(patient.split))}; expected as many of each"
        )
    for name, array in (("LQ", lq), ("HQ", hq)):
        for row, image in enumerate(array):
            if not np.isfinite(image).all():
                raise InputError(
                    f"patient {key} has NaN or infinite pixels in {name} slice "
                    f"{int(patient.slice_index[row])}; leave the scan out or repair it"
                )
    if split_kind == "patients":
        assert_disjoint((key, split) for split in patient.split)


def _codes(patient: PreparedPatient) -> NDArray[np.uint8]:
    return np.array([SPLITS.index(split) for split in patient.split], dtype=np.uint8)


def _digest(patient: PreparedPatient) -> bytes:
    digest = hashlib.sha256()
    for array in (
        np.asarray(patient.hq.shape, dtype="<i8"),
        np.ascontiguousarray(patient.lq, dtype="<f4"),
        np.ascontiguousarray(patient.hq, dtype="<f4"),
        np.asarray(patient.slice_index, dtype="<i8"),
        _codes(patient),
        np.asarray(patient.affine, dtype="<f8"),
    ):
        digest.update(array.data)
    return digest.digest()
