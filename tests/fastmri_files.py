"""Small volumes in the form of fastMRI: k-space of several coils, image, header and attributes."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

SLICES, COILS, ROWS, COLUMNS = 3, 4, 64, 40
SIZE = 32  # of the image: the readout is oversampled twofold
HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <encoding>
    <encodedSpace>
      <matrixSize><x>64</x><y>40</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>128</x><y>100</y><z>7.5</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>32</x><y>32</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>64</x><y>80</y><z>5</z></fieldOfView_mm>
    </reconSpace>
    <trajectory>cartesian</trajectory>
    <encodingLimits>
      <kspace_encoding_step_1><minimum>0</minimum><maximum>39</maximum><center>20</center>
      </kspace_encoding_step_1>
    </encodingLimits>
  </encoding>
</ismrmrdHeader>
"""


def transformed(image: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    """Centred, orthonormal k-space of images."""
    axes = (-2, -1)
    shifted = np.fft.ifftshift(image, axes=axes)
    return np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=axes)


def reconstructed(kspace: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Root of the sum of squares over the coils, (slices, coils, ...), cropped to the image."""
    axes = (-2, -1)
    shifted = np.fft.ifftshift(kspace, axes=axes)
    coils = np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=axes)
    top, left = (ROWS - SIZE) // 2, (COLUMNS - SIZE) // 2
    cut = coils[..., top : top + SIZE, left : left + SIZE]
    return np.sqrt((np.abs(cut) ** 2).sum(1))


def coil_images(seed: int) -> NDArray[np.complex128]:
    """A disc with noise and a phase, seen by coils on its sides, (slices, coils, rows, columns)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    y, x = y - ROWS / 2, x - COLUMNS / 2
    disc = (y**2 + x**2 < 13**2) * rng.uniform(2e-4, 6e-4, (SLICES, ROWS, COLUMNS))
    head = disc * np.exp(1j * (0.1 * x + 0.05 * y + rng.uniform(0, 6)))
    angles = 2 * np.pi * np.arange(COILS) / COILS
    near = [np.exp(-((y - 20 * np.sin(a)) ** 2 + (x - 20 * np.cos(a)) ** 2) / 800) for a in angles]
    coils = np.stack(near) * np.exp(1j * angles)[:, None, None]
    return head[:, None] * coils


def write_volume(
    path: Path,
    seed: int = 0,
    mask: NDArray[np.bool_] | None = None,
    patient: str | None = None,
    header: str | None = HEADER,
    image: bool = True,
    test_file: bool = False,
) -> NDArray[np.complex64]:
    """Write a volume as the description of fastMRI says, and return its k-space.

    Args:
        path: The file.
        seed: Seed of the anatomy.
        mask: Written as ``mask``.
        patient: Attribute ``patient_id``; None leaves it out.
        header: ``ismrmrd_header``; None leaves it out.
        image: Write ``reconstruction_rss`` and the attributes that describe it.
        test_file: Write the k-space times the mask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kspace = transformed(coil_images(seed)).astype(np.complex64)
    if test_file:
        assert mask is not None
        kspace = kspace * mask
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        if header is not None:
            file["ismrmrd_header"] = header
        if mask is not None:
            file["mask"] = mask
        if image:
            rss = reconstructed(kspace).astype(np.float32)
            file["reconstruction_rss"] = rss
            file.attrs["max"], file.attrs["norm"] = rss.max(), np.linalg.norm(rss)
        file.attrs["acquisition"] = "AXT2"
        if patient is not None:
            file.attrs["patient_id"] = patient
    return kspace
