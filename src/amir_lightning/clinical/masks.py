"""Masks that a user gives for real patients: NIfTI label maps on the grid of the scans.

The folder holds ``<patient>.nii`` or ``<patient>.nii.gz`` for each patient, named as in
``patients.csv``, and ``labels.csv`` with the columns label, name and kind.
"""

import csv
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amir_lightning.clinical.regions import Region, Regions
from amir_lightning.data.pairs import cut_slices
from amir_lightning.data.store import SliceRef, Store
from amir_lightning.errors import InputError
from amir_lightning.io.nifti.scan import NiftiScan

KINDS = ("lesion", "organ", "flat")
_SAME_PLACE = 0.1  # tolerance for the place of a pixel, as a fraction of its size


class Label(NamedTuple):
    """A line of ``labels.csv``."""

    number: int
    name: str
    kind: str


class Masks:
    """A folder of masks.

    Args:
        folder: The folder.

    Raises:
        InputError: There is no such folder, or ``labels.csv`` cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise InputError(f"masks is {folder}, which is no folder; type masks=<folder of NIfTI>")
        self._seen: set[int] = set()

    @cached_property
    def labels(self) -> list[Label]:
        """Labels that ``labels.csv`` names."""
        path = self.folder / "labels.csv"
        advice = f"write lines such as 1,metastasis,lesion below label,name,kind into {path}"
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                found = [
                    Label(int(row["label"]), row["name"].strip(), row["kind"].strip())
                    for row in csv.DictReader(file)
                ]
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); {advice}") from error
        except KeyError as error:
            raise InputError(f"{path} has no column {error}; {advice}") from error
        except (TypeError, ValueError, AttributeError, csv.Error) as error:
            raise InputError(f"{path} has a line that is no label ({error}); {advice}") from error
        for number in [one.number for one in found]:
            names = [one.name for one in found if one.number == number]
            if len(names) > 1:
                raise InputError(
                    f"{path} gives the label {number} to {' and '.join(names)}, expected one name "
                    "for each label; correct one of the lines"
                )
        for one in found:
            if one.kind not in KINDS or one.number < 1:
                raise InputError(
                    f"{path} has label {one.number} of kind '{one.kind}', expected a number above "
                    f"0 and one of {', '.join(KINDS)}; correct that line"
                )
        if not found:
            raise InputError(f"{path} names no label; {advice}")
        return found

    def of(self, store: Store, refs: list[SliceRef]) -> Regions | None:
        """Regions in some slices of a patient; None if the folder has no mask of the patient.

        Raises:
            InputError: The mask is of another grid, or has labels that ``labels.csv`` lacks.
        """
        patient = refs[0].patient
        paths = (self.folder / f"{patient}{end}" for end in (".nii.gz", ".nii"))
        path = next((one for one in paths if one.is_file()), None)
        if path is None:
            return None
        map_ = self._cut(path, store, refs)
        numbers = {int(number) for number in np.unique(map_)} - {0}
        known = {one.number for one in self.labels}
        if numbers - known:
            raise InputError(
                f"{path} has the label {min(numbers - known)}, which {self.folder}/labels.csv does "
                "not name; add a line for it"
            )
        self._seen |= numbers
        sound = np.ones(map_.shape, bool)
        for one in self.labels:
            if one.kind == "lesion":
                sound &= map_ != one.number
        found: dict[str, list[Region]] = {kind: [] for kind in KINDS}
        organs = [one.number for one in self.labels if one.kind == "organ"]
        for one in self.labels:
            mask = map_ == one.number
            if mask.any():
                inside = organs and one.kind == "lesion"
                around = sound & np.isin(map_, organs) if inside else sound & ~mask
                found[one.kind].append(Region(one.name, mask, around))
        lesions, own, flat = (tuple(found[kind]) for kind in KINDS)
        return Regions(lesions, own, flat, marked=True)

    def check(self, scored: Iterable[tuple[Store, Sequence[SliceRef]]]) -> None:
        """Read the masks of all scored slices, so that a mistake is told before any is restored.

        Raises:
            InputError: A mask cannot be used, no patient has one, or a label of ``labels.csv`` is
                in none of the slices.
        """
        labels, patients = self.labels, dict[str, bool]()
        for store, slices in scored:
            own: dict[str, list[SliceRef]] = {}
            for ref in slices:
                own.setdefault(ref.patient, []).append(ref)
            for patient, refs in own.items():
                patients[patient] = self.of(store, refs) is not None or patients.get(patient, False)
        if patients and not any(patients.values()):
            raise InputError(
                f"{self.folder} has no mask of a scored patient, expected names such as "
                f"{next(iter(patients))}.nii.gz; rename the masks to the ids in patients.csv"
            )
        for one in labels:
            if one.number not in self._seen:
                raise InputError(
                    f"no scored slice has the label {one.number} ({one.name}), which "
                    f"{self.folder}/labels.csv asks for; mark it in a mask, or remove that line"
                )

    def _cut(self, path: Path, store: Store, refs: list[SliceRef]) -> NDArray[np.int64]:
        volume = NiftiScan(path).read()
        wrong = (volume.array < 0) | (volume.array != np.rint(volume.array))
        if wrong.any():
            raise InputError(
                f"{path} has values that are no labels, such as {volume.array[wrong][0]:g}; save a "
                "mask of whole numbers, 0 where nothing is marked"
            )
        plane = store.plane
        assert plane in ("axial", "coronal", "sagittal")  # a store is checked when it is opened
        cut = cut_slices(volume.array, volume.array, volume.affine, plane)  # type: ignore[arg-type]
        rows = np.array([ref.slice_index for ref in refs])
        wanted, place = store.shape(refs[0]), store.affine(refs[0].patient)
        near = _SAME_PLACE * min(store.spacing_mm(refs[0].patient))
        if cut.hq.shape[1:] != wanted or rows.max() >= len(cut.hq):
            raise InputError(
                f"{path} has {len(cut.hq)} {plane} slices of {_size(cut.hq.shape[1:])} pixels, and "
                f"the scan has at least {rows.max() + 1} of {_size(wanted)}; expected the same "
                "grid: resample the mask onto the scan"
            )
        if not np.allclose(cut.affine, place, atol=near):
            raise InputError(
                f"{path} lies at another place than the scan (their affines differ by more than a "
                "tenth of a voxel); expected the same grid: resample the mask onto the scan"
            )
        return np.rint(cut.hq[rows]).astype(np.int64)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
