"""Turn a scan into slice pairs: simulate LQ on the volume, then cut both along a plane."""

import hashlib
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from amir_lightning.degradation import Degradation, SamplesKSpace, drawn_for
from amir_lightning.errors import InputError
from amir_lightning.io.volume import Volume
from amir_lightning.tasks import Plane, Task

Array = NDArray[np.float32]
Spacing = tuple[float, float, float]

# Axes of (Z, Y, X) that become slices, rows and columns. A coronal slice is (X, Z), like the
# paper's 192x400; a sagittal one is (Y, Z).
AXES: dict[Plane, tuple[int, int, int]] = {
    "axial": (0, 1, 2),
    "coronal": (1, 2, 0),
    "sagittal": (2, 1, 0),
}
_BODY_LEVEL = 0.05  # fraction of the display window: PET 0.25 SUV, CT -140 HU, MRI 60
_BODY_AREA = 0.01  # fraction of pixels above that level from which a slice is not air


class SampledScan(NamedTuple):
    """LQ from a part of measured k-space, and the parameters that were drawn for it."""

    lq: Volume
    drawn: dict[str, float]


class KSpace(Protocol):
    """Measured k-space of a scan."""

    def sampled(self, degradation: SamplesKSpace, seed: int) -> SampledScan:
        """Reconstruct LQ from the samples that a degradation keeps, on the grid of HQ."""
        ...


class RawScan(NamedTuple):
    """Measured scan of a patient: HQ and, in a paired data set, LQ or the k-space of HQ."""

    hq: Volume
    lq: Volume | None = None
    kspace: KSpace | None = None


class SlicePairs(NamedTuple):
    """Slices of a scan.

    Attributes:
        lq: Low-quality slices, (S, H, W).
        hq: High-quality slices, (S, H, W).
        slice_index: Position of each slice along the cut axis of the scan, (S,).
        affine: 4x4 matrix from (column, row, slice_index, 1) to world millimetres (RAS+).
        spacing_mm: Distance between slices, rows and columns [mm].
    """

    lq: Array
    hq: Array
    slice_index: NDArray[np.int64]
    affine: NDArray[np.float64]
    spacing_mm: Spacing

    def take(self, rows: NDArray[np.integer]) -> "SlicePairs":
        """Select rows of the arrays; their slice positions are kept."""
        return self._replace(lq=self.lq[rows], hq=self.hq[rows], slice_index=self.slice_index[rows])


def cut_slices(lq: Array, hq: Array, affine: NDArray[np.float64], plane: Plane) -> SlicePairs:
    """Cut a pair of volumes into all slices of a plane.

    Args:
        lq: Low-quality volume, (Z, Y, X).
        hq: High-quality volume, (Z, Y, X).
        affine: 4x4 matrix from (x, y, z, 1) to world millimetres.
        plane: Orientation of the slices.
    """
    axes = AXES[plane]
    turned = affine.copy()
    # The affine's columns are (x, y, z), the array's axes (z, y, x): axis a has column 2 - a.
    turned[:, :3] = affine[:, [2 - axis for axis in reversed(axes)]]
    column, row, slices = np.linalg.norm(turned[:3, :3], axis=0)
    return SlicePairs(
        lq=np.ascontiguousarray(lq.transpose(axes)),
        hq=np.ascontiguousarray(hq.transpose(axes)),
        slice_index=np.arange(hq.shape[axes[0]]),
        affine=turned,
        spacing_mm=(float(slices), float(row), float(column)),
    )


def with_lq(
    scan: RawScan, task: Task, degradation: Degradation, seed: int
) -> tuple[RawScan, dict[str, float]]:
    """Choose the LQ of a task: from measured k-space, as it was measured, or to be simulated.

    A measured LQ is dropped if it is not that of the task.

    Args:
        scan: The scan.
        task: The task; its `measured` is used.
        degradation: Decides which samples of k-space are kept, if it can.
        seed: Seed of the patient.

    Returns:
        HQ with LQ, or HQ alone if LQ has to be simulated; and the parameters that are drawn for it.
    """
    if scan.kspace is not None and isinstance(degradation, SamplesKSpace):
        lq, drawn = scan.kspace.sampled(degradation, seed)
        return RawScan(scan.hq, lq), drawn
    if scan.lq is not None and task.measured:
        return RawScan(scan.hq, scan.lq), {}
    return RawScan(scan.hq), drawn_for(degradation, seed)


def fit_to_grid(
    scan: RawScan, task: Task, grid: tuple[int, int] | None, intensity_scale: float
) -> RawScan:
    """Scale the values of a scan, and crop or pad its slices, before LQ is simulated.

    Slices of the task's plane are cropped or padded with air around their centre. They are never
    resampled, so the pixel size stays. If the difference is odd, the larger half is at the end.

    Args:
        scan: The scan.
        task: The task; its plane and value range are used.
        grid: Rows and columns of a slice; None keeps the size.
        intensity_scale: Factor on every voxel value.
    """
    hq, lq = scan.hq, scan.lq
    if intensity_scale != 1:
        hq = replace(hq, array=hq.array * np.float32(intensity_scale))
        lq = lq and replace(lq, array=lq.array * np.float32(intensity_scale))
    if grid is None:
        return RawScan(hq, lq)
    _, row, column = AXES[task.plane]
    lengths = {row: grid[0], column: grid[1]}
    return RawScan(_to_grid(hq, lengths, task), lq and _to_grid(lq, lengths, task))


def _to_grid(volume: Volume, lengths: dict[int, int], task: Task) -> Volume:
    array, affine = volume.array, volume.affine.copy()
    air = task.value_range[0]
    for axis, wanted in lengths.items():
        before = (wanted - array.shape[axis]) // 2 if wanted > array.shape[axis] else 0
        after = max(wanted - array.shape[axis], 0) - before
        first = max(array.shape[axis] - wanted, 0) // 2
        array = array.take(range(first, first + min(wanted, array.shape[axis])), axis)
        padding = [(before, after) if a == axis else (0, 0) for a in range(3)]
        array = np.pad(array, padding, constant_values=air)
        affine[:, 3] += affine[:, 2 - axis] * (first - before)
    return replace(volume, array=np.ascontiguousarray(array), affine=affine)


def make_pairs(
    scan: RawScan, task: Task, degradation: Degradation, seed: int, central_slices: int | None
) -> SlicePairs:
    """Cut all slice pairs of one patient, including slices of air.

    HQ is first clipped at the lower end of the value range, because padding outside the field of
    view of a CT (-3024 HU) is not matter. It is not clipped at the upper end, because a clipped
    bright organ would change the simulated noise around it.

    Args:
        scan: HQ volume and, if it was measured, LQ volume.
        task: The task; its plane and value range are used.
        degradation: Simulates LQ if it was not measured.
        seed: Seed of the simulated noise.
        central_slices: Number of slices to keep around the middle of the cut axis; None keeps all.

    Raises:
        InputError: LQ and HQ have different shapes or geometry, or LQ is not finite.
    """
    floor = np.float32(task.value_range[0])
    hq, affine = np.maximum(scan.hq.array, floor), scan.hq.affine
    if scan.lq is not None:
        _assert_match(scan.lq, scan.hq)
        pairs = cut_slices(np.maximum(scan.lq.array, floor), hq, affine, task.plane)
        return pairs.take(_central(len(pairs.hq), central_slices))
    # Axial slices are simulated independently, so only the wanted ones are.
    rows = _central(len(hq), central_slices if task.plane == "axial" else None)
    with torch.inference_mode():
        lq = degradation.degrade(torch.from_numpy(hq[rows]), scan.hq.spacing_mm, seed).numpy()
    if lq.shape != hq[rows].shape:
        raise InputError(
            f"the degradation of task {task.name} made {lq.shape} from {hq[rows].shape}; expected "
            "LQ on the grid of HQ: correct the node 'degradation' of the task"
        )
    pairs = cut_slices(lq, hq[rows], affine, task.plane)
    if task.plane == "axial":
        return pairs._replace(slice_index=rows)
    return pairs.take(_central(len(pairs.hq), central_slices))


def hq_slices(scan: RawScan, task: Task, central_slices: int | None) -> Array:
    """HQ slices of `make_pairs`, (S, H, W), without simulating LQ.

    Raises:
        InputError: LQ and HQ have different shapes or geometry.
    """
    hq = np.maximum(scan.hq.array, np.float32(task.value_range[0]))
    if scan.lq is not None:
        _assert_match(scan.lq, scan.hq)
    slices = hq.transpose(AXES[task.plane])
    return slices[_central(len(slices), central_slices)]


def informative_rows(hq: Array, task: Task) -> NDArray[np.int64]:
    """Rows of the slices that are neither air nor constant.

    A slice is air if fewer than 1 % of its pixels exceed the lower end of the display window by
    more than 5 % of the window's width. A slice that is constant after clipping to the score range
    is left out because its PSNR is not defined.

    Args:
        hq: High-quality slices in physical units, (S, H, W).
        task: The task; its display window and score range are used.
    """
    low, high = sorted(task.display_window)  # PET has an inverted window, from high to low
    body = (hq > low + _BODY_LEVEL * (high - low)).mean(axis=(1, 2)) >= _BODY_AREA
    scored = np.clip(hq, *task.score_range)
    varied = scored.max(axis=(1, 2)) > scored.min(axis=(1, 2))
    return np.flatnonzero(body & varied)


def patient_seed(seed: int, patient: str) -> int:
    """Seed of one patient's noise, which does not depend on the other patients.

    Args:
        seed: Seed of the command.
        patient: Hashed patient id.
    """
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes non-negative seeds of 63 bits


def _central(count: int, wanted: int | None) -> NDArray[np.int64]:
    if wanted is None or wanted >= count:
        return np.arange(count)
    first = (count - wanted) // 2
    return np.arange(first, first + wanted)


def _assert_match(lq: Volume, hq: Volume) -> None:
    if lq.array.shape != hq.array.shape:
        raise InputError(
            f"LQ is {lq.array.shape} and HQ is {hq.array.shape} voxels; expected the same grid: "
            "resample one onto the other"
        )
    if not np.allclose(lq.affine, hq.affine, atol=0.1 * min(hq.spacing_mm)):
        raise InputError(
            "LQ and HQ lie at different places (their affines differ by more than a tenth of a "
            "voxel); expected the same grid: resample one onto the other"
        )
