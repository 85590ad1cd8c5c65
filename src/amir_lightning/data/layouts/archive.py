"""Layout ``archive``: the authors' slices, such as ``MRI/train/LQ/IXI002-Guys-0828-T2_0.bin``."""

import logging
import re
from collections import defaultdict
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from amir_lightning.data.layouts.layout import RawDataset, RawPatient, check_folder, raw_dataset
from amir_lightning.data.layouts.pickles import read_array
from amir_lightning.data.pairs import AXES, RawScan
from amir_lightning.data.splits import Split
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import Skipped
from amir_lightning.io.files import find_files, subfolders
from amir_lightning.io.nifti.file import is_nifti, nifti_stem, read_header
from amir_lightning.io.volume import Volume, lps_affine
from amir_lightning.tasks import Plane, Task

log = logging.getLogger(__name__)

_SPLITS: dict[str, Split] = {"train": "train", "validation": "val", "val": "val", "test": "test"}
_ROLES = ("LQ", "HQ")
_MODALITIES = {"MR": "mri", "CT": "ct", "PT": "pet"}
_NAME = re.compile(r"(?P<patient>.+)_(?P<index>\d+)")


def archive(raw_dir: Path, task: Task) -> RawDataset:
    """Find the patients of the archive; a file name is ``<patient>_<slice>``.

    The files have no geometry, so the pixel size is set to 1 mm.

    Args:
        raw_dir: The archive, or the folder of one modality in it.
        task: The task.

    Raises:
        InputError: There are no pairs, or a slice has no partner.
    """
    check_folder(raw_dir)
    root = modality_folder(raw_dir, task)
    if root is None:
        raise InputError(
            f"{raw_dir} is not the authors' archive; expected <modality>/<train|validation|test>/"
            "<LQ|HQ>/*.bin or *.nii: type dataset=auto"
        )
    found, skipped = find_files(root)
    patients: list[RawPatient] = []
    for folder, (lq, hq) in sorted(_slices(root, found, skipped).items()):
        split = _SPLITS[folder.name.lower()]
        alone = sorted(lq.keys() ^ hq.keys())
        if alone:
            patient, index = alone[0]
            raise InputError(
                f"{folder} has slice {index} of {patient} in only one of LQ and HQ ({len(alone)} "
                "such slices); expected both: copy the archive again"
            )
        by_patient: dict[str, list[int]] = defaultdict(list)
        for patient, index in hq:
            by_patient[patient].append(index)
        for patient, indices in by_patient.items():
            indices.sort()
            pairs = [(lq[patient, index], hq[patient, index]) for index in indices]
            files = tuple(path for pair in pairs for path in pair)
            read = partial(_read, pairs, task.plane, task.units)
            patients.append(RawPatient(patient, read, files, patient, split))
    log.info("the archive has no geometry: pixels count as 1 mm")
    return raw_dataset(
        raw_dir, task, patients, skipped, "<train|validation|test>/<LQ|HQ>/*.bin|*.nii"
    )


def modality_folder(raw_dir: Path, task: Task) -> Path | None:
    """Folder that holds the splits of the task's modality; None if there is no archive."""
    names = {task.name.lower(), _MODALITIES.get(task.dicom_modality, "")}
    below = [path for path in subfolders(raw_dir) if path.name.lower() in names]
    for folder in (raw_dir, *below):
        for child in subfolders(folder):
            roles = {path.name for path in subfolders(child)}
            if child.name.lower() in _SPLITS and roles.issuperset(_ROLES):
                return folder
    return None


Slices = dict[tuple[str, int], Path]
"""File of each slice, by patient and slice index."""


def _slices(
    root: Path, files: list[Path], skipped: list[Skipped]
) -> dict[Path, tuple[Slices, Slices]]:
    """LQ and HQ slices in the folder of each split."""
    found: dict[Path, tuple[Slices, Slices]] = defaultdict(lambda: ({}, {}))
    for path in files:
        folder, role = path.parent.parent, path.parent.name
        stem = nifti_stem(path) if is_nifti(path) else path.stem
        match = _NAME.fullmatch(stem)
        in_place = folder.parent == root and folder.name.lower() in _SPLITS and role in _ROLES
        if match is None or not in_place or not (is_nifti(path) or path.suffix == ".bin"):
            skipped.append(Skipped(path, "not a slice of the archive"))
        else:
            found[folder][_ROLES.index(role)][match["patient"], int(match["index"])] = path
    return found


def _read(pairs: list[tuple[Path, Path]], plane: Plane, units: str) -> RawScan:
    lq, hq = (_volume([pair[side] for pair in pairs], plane, units) for side in (0, 1))
    return RawScan(hq, lq)


def _volume(paths: list[Path], plane: Plane, units: str) -> Volume:
    images = [_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise InputError(
                f"{path} is {image.shape} and {paths[0].name} is {images[0].shape}; expected "
                "slices of one patient to have one size: copy the archive again"
            )
        if not np.isfinite(image).all():
            raise InputError(f"{path} has NaN or infinite pixels; copy it again or leave it out")
    # With these axes, cutting along the task's plane gives the slices of the files.
    array = np.stack(images).transpose(np.argsort(AXES[plane]))
    source = f"archive {len(paths)} slices"
    return Volume(np.ascontiguousarray(array), lps_affine((1.0, 1.0, 1.0)), units, source)


def _image(path: Path) -> NDArray[np.float32]:
    if is_nifti(path):
        read_header(path)  # refuses a file that declares more voxels than it can hold
        try:
            # The published code reads these files with x as the last axis.
            array = np.asarray(nib.Nifti1Image.from_filename(path).dataobj, dtype=np.float32).T
        except Exception as error:  # nibabel can raise anything
            raise InputError(f"{path} is not a readable NIfTI file; copy it again") from error
    else:
        array = read_array(path)
    image = array.reshape([length for length in array.shape if length > 1] or [1])
    if image.ndim != 2:
        raise InputError(
            f"{path} has shape {array.shape}; expected one slice, 1xHxW or HxW: copy the archive "
            "again"
        )
    return image
