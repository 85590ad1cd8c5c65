"""One HDF5 file of fastMRI: measured k-space to images.

Source: J. Zbontar et al., arXiv:1811.08839, 2018. K-space is centred, its rows are the readout,
and its columns the phase encoding. The header is that of ISMRMRD (S. J. Inati et al., Magn Reson
Med 77, 2017).
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from xml.etree import ElementTree

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amir_lightning.data.pairs import RawScan, SampledScan
from amir_lightning.data.store_check import is_own
from amir_lightning.degradation import SamplesKSpace, Undersampling, drawn_for
from amir_lightning.degradation.kspace import to_image
from amir_lightning.errors import InputError
from amir_lightning.io.limits import max_unpacked_bytes
from amir_lightning.io.volume import Volume, lps_affine

log = logging.getLogger(__name__)

_BRIGHT = 1700.0  # a.u. of the 99.9th percentile: fluid of the embedded patients
_SAME_IMAGE = 0.02  # relative difference of two root-sum-of-squares images of one k-space


@dataclass(frozen=True)
class KSpaceFile:
    """Measured k-space of one volume; pixels are read slice by slice.

    Attributes:
        path: The file.
        shape: Slices, coils, rows and columns of k-space; one coil if it was emulated.
        size: Rows and columns of the image, without the oversampled part of the readout; None if
            the file does not say.
        spacing_mm: Thickness of slices, height and width of pixels [mm]; None if it does not say.
        mask: Columns that the file marks as measured, or None.
        undersampled: Whether columns are missing, so that the file has no HQ.
        patient: Attribute ``patient_id``, or an empty text.
        acquisition: Attribute ``acquisition``, such as AXT2, or an empty text.
    """

    path: Path
    shape: tuple[int, int, int, int]
    size: tuple[int, int] | None
    spacing_mm: tuple[float, float, float] | None
    mask: NDArray[np.bool_] | None
    undersampled: bool
    patient: str
    acquisition: str

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read everything but the k-space.

        Raises:
            InputError: The file is damaged, has no k-space, or a mask of another width.
        """
        with _opened(path) as file:
            return cls._of(path, file)

    @classmethod
    def _of(cls, path: Path, file: h5py.File) -> Self:
        kspace = _dataset(file, "kspace")
        if kspace is None:
            raise InputError(
                f"{path} has no k-space (it holds {', '.join(file) or 'nothing'}), expected a "
                "dataset 'kspace' as in fastMRI; copy it again or leave it out"
            )
        if kspace.ndim not in (3, 4) or 0 in kspace.shape or kspace.dtype.kind != "c":
            raise InputError(
                f"{path} has k-space of {kspace.dtype} and shape {kspace.shape}, expected complex "
                "numbers of (slices, coils, rows, columns); save it so or leave it out"
            )
        slices, *coils, rows, columns = kspace.shape
        mask = _dataset(file, "mask")
        if mask is not None and mask.size != columns:
            raise InputError(
                f"{path} has a mask of {mask.size} lines and k-space of {columns} columns, "
                "expected one line for each column; copy it again or leave it out"
            )
        if mask is not None and not np.asarray(mask[()]).any():
            raise InputError(
                f"{path} has a mask without a measured line, expected some; copy it again or leave "
                "it out"
            )
        image = _stored_image(file, emulated=not coils)
        header = _header(file)
        size = _size(header)
        if image is not None and image.shape[1] <= rows and image.shape[2] <= columns:
            size = image.shape[1], image.shape[2]
        return cls(
            path,
            (slices, coils[0] if coils else 1, rows, columns),
            size and (min(rows, size[0]), min(columns, size[1])),
            _spacing(header, rows, columns),
            None if mask is None else np.asarray(mask[()]).reshape(-1).astype(bool),
            _lacks_columns(kspace),
            _text(file.attrs.get("patient_id")),
            _text(file.attrs.get("acquisition")),
        )

    def read(self) -> RawScan:
        """Read the root-sum-of-squares image of the whole k-space.

        A scanner stores images in units of its own. So does this: the brightest tissue, at the
        99.9th percentile, becomes 1700 a.u.

        Raises:
            InputError: The file is damaged.
        """
        whole = torch.ones(1, 1, 1, dtype=torch.bool)
        images = self._images(whole)
        bright = float(np.percentile(images, 99.9))
        if not bright > 0:
            raise InputError(f"{self.path} has no signal in its k-space; leave it out")
        self._compare(images)
        scale = _BRIGHT / bright
        return RawScan(self._volume(images, scale), kspace=_Scaled(self, scale))

    def sampled(self, degradation: SamplesKSpace, seed: int, scale: float) -> SampledScan:
        """Leave out samples of each coil's k-space: those of the degradation or of the file.

        Args:
            degradation: Draws the samples; its lines are columns here. Where it is an
                `Undersampling` and the file has a mask, that mask takes their place.
            seed: Seed of the draw.
            scale: Factor on the image.
        """
        slices, _, rows, columns = self.shape
        if isinstance(degradation, Undersampling) and self.mask is not None:
            kept, drawn = torch.from_numpy(self.mask)[None, None], {}
        else:
            kept = degradation.samples((slices, columns, rows), seed).transpose(1, 2)
            drawn = drawn_for(degradation, seed)
        return SampledScan(self._volume(self._images(kept), scale), drawn)

    def _volume(self, images: NDArray[np.float32], scale: float) -> Volume:
        affine = lps_affine(self.spacing_mm or (1.0, 1.0, 1.0))
        return Volume(images * np.float32(scale), affine, "a.u.", "fastmri k-space")

    def _images(self, kept: Tensor) -> NDArray[np.float32]:
        """Images of k-space times a mask that broadcasts to (slices, rows, columns)."""
        kept = kept.expand(self.shape[0], *kept.shape[1:])
        size = self.size or (self.shape[2], self.shape[3])
        images = [
            _root_sum_of_squares(coils * mask, size)
            for coils, mask in zip(self._kspace(), kept, strict=True)
        ]
        array: NDArray[np.float32] = torch.stack(images).numpy()
        if not np.isfinite(array).all():
            raise InputError(f"{self.path} has NaN or infinite k-space; copy it again")
        return array

    def _kspace(self) -> Iterator[Tensor]:
        """Yield the k-space of each slice, (coils, rows, columns)."""
        with _opened(self.path) as file:
            for index in range(self.shape[0]):
                one = np.asarray(file["kspace"][index], np.complex64)
                yield torch.from_numpy(one.reshape(self.shape[1:]))

    def _compare(self, images: NDArray[np.float32]) -> None:
        """Warn if the file's own image is another one, because its k-space may be, too."""
        with _opened(self.path) as file:
            stored = _stored_image(file, emulated=file["kspace"].ndim == 3)
            if stored is None:
                return
            if stored.shape != images.shape:
                said = "%s: the image of its k-space has shape %s, and the one that it stores %s"
                log.warning(said, self.path, images.shape, stored.shape)
                return
            off = float(np.linalg.norm(images - stored[()]) / np.linalg.norm(images))
        if off > _SAME_IMAGE:
            log.warning(
                "%s: the image of its k-space differs by %.0f %% from the one that it stores",
                self.path,
                100 * off,
            )


@dataclass(frozen=True)
class _Scaled:
    """The k-space of a scan whose image was scaled."""

    file: KSpaceFile
    scale: float

    def sampled(self, degradation: SamplesKSpace, seed: int) -> SampledScan:
        return self.file.sampled(degradation, seed, self.scale)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open a file; what h5py says about a damaged one becomes a sentence."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(
            f"{path} is not a readable HDF5 file (it may be truncated); copy it again or leave it "
            "out"
        ) from error


def _root_sum_of_squares(kspace: Tensor, size: tuple[int, int]) -> Tensor:
    """Image of several coils, cropped around its centre, with the energy of its k-space."""
    height, width = kspace.shape[-2:]
    coils = torch.fft.fftshift(to_image(kspace), dim=(-2, -1)) * (height * width) ** 0.5
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return coils[:, top : top + size[0], left : left + size[1]].abs().square().sum(0).sqrt()


def _dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """A dataset that lies in the file and holds what it declares; None if there is none.

    Raises:
        InputError: It lies elsewhere, or declares more than it holds.
    """
    if name not in file:
        return None
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{file.filename}: '{name}' is no dataset; copy it again or leave it out")
    if not is_own(name, file):
        raise InputError(f"{file.filename} has '{name}' in another file; copy the data into it")
    if found.nbytes > max_unpacked_bytes(found.id.get_storage_size()):
        raise InputError(f"{file.filename}: '{name}' declares more than it holds; copy it again")
    return found


def _stored_image(file: h5py.File, emulated: bool) -> h5py.Dataset | None:
    names = ("reconstruction_esc", "reconstruction_rss") if emulated else ("reconstruction_rss",)
    found = next((one for one in (_dataset(file, name) for name in names) if one is not None), None)
    return found if found is not None and found.ndim == 3 and 0 not in found.shape else None


def _lacks_columns(kspace: h5py.Dataset) -> bool:
    """Whether columns between measured ones are zero; those at the edges may be padding."""
    middle = kspace.shape[0] // 2
    coil = kspace[middle] if kspace.ndim == 3 else kspace[middle, 0]  # the others are alike
    measured = np.flatnonzero(coil.any(0))
    return bool(len(measured) and len(measured) <= measured[-1] - measured[0])


def _header(file: h5py.File) -> ElementTree.Element | None:
    """Encoding of an ISMRMRD header without its name space; None if there is no such header."""
    stored = _dataset(file, "ismrmrd_header")
    if stored is None or stored.size != 1:
        return None
    try:
        root = ElementTree.fromstring(_text(np.asarray(stored[()]).reshape(-1)[0]))
    except ElementTree.ParseError:
        return None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root.find("encoding")


def _size(header: ElementTree.Element | None) -> tuple[int, int] | None:
    rows, columns, _ = _numbers(header, "reconSpace/matrixSize")
    return (round(rows), round(columns)) if min(rows, columns) >= 1 else None


def _spacing(
    header: ElementTree.Element | None, rows: int, columns: int
) -> tuple[float, float, float] | None:
    """Slice thickness and pixel size: the field of view over the number of samples."""
    height, width, _ = _numbers(header, "encodedSpace/fieldOfView_mm")
    *_, thickness = _numbers(header, "reconSpace/fieldOfView_mm")
    if min(height, width, thickness) <= 0:
        return None
    return thickness, height / rows, width / columns


def _numbers(header: ElementTree.Element | None, place: str) -> tuple[float, float, float]:
    """x, y and z of an element; zeros if one is missing or no finite number."""
    found = [None if header is None else header.findtext(f"{place}/{axis}") for axis in "xyz"]
    try:
        x, y, z = (float(text or 0) for text in found)
    except ValueError:
        return 0.0, 0.0, 0.0
    return (x, y, z) if np.isfinite([x, y, z]).all() else (0.0, 0.0, 0.0)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return "" if value is None else str(value)
