import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.io.nifti.file import nifti_stem
from amir_lightning.io.nifti.scan import NiftiScan, read_nifti, write_nifti
from amir_lightning.io.volume import Volume, lps_affine


def save(path: Path, voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> Path:
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def world_values(voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> dict[tuple, float]:
    """Value at each world position, which a change of the voxel order must keep."""
    index = np.stack(np.meshgrid(*map(np.arange, voxels.shape), indexing="ij"), -1).reshape(-1, 3)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return dict(zip(map(tuple, world.round(3)), voxels.reshape(-1).tolist(), strict=True))


def rotation(degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SAR", "PIL", "ALI"])
@pytest.mark.parametrize("tilt", [0, 20])
def test_any_orientation_becomes_lps_without_moving_a_voxel(
    tmp_path: Path, codes: str, tilt: float
) -> None:
    voxels = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    to_ras = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(codes), voxels.shape)
    affine = to_ras @ np.diag([1.5, 2, 3, 1])
    affine[:3, :3] = rotation(tilt) @ affine[:3, :3]
    volume = read_nifti(save(tmp_path / "a.nii.gz", voxels, affine), "a.u.")
    assert nib.aff2axcodes(volume.affine) == ("L", "P", "S")
    assert world_values(volume.array.transpose(2, 1, 0), volume.affine) == world_values(
        voxels, affine.astype(np.float32).astype(np.float64)
    )
    assert volume.array.dtype == np.float32
    assert sorted(volume.spacing_mm) == pytest.approx([1.5, 2, 3])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_round_trip_keeps_every_bit_of_a_float(tmp_path: Path, name: str) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    affine = lps_affine((3.0, 0.5, 0.75))
    affine[:3, :3] = rotation(10) @ affine[:3, :3]
    affine[:3, 3] = [10, -20, 30]
    write_nifti(tmp_path / name, Volume(array, affine, "SUV", "test"))
    again = read_nifti(tmp_path / name, "SUV")
    np.testing.assert_array_equal(again.array, array)
    np.testing.assert_allclose(again.affine, affine, atol=1e-5)
    assert again.units == "SUV"
    assert again.spacing_mm == pytest.approx((3.0, 0.5, 0.75), rel=1e-6)


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.full((2, 2, 2), 100, np.int16), np.eye(4))
    image.header.set_slope_inter(2, -1024)
    nib.save(image, tmp_path / "ct.nii")
    assert read_nifti(tmp_path / "ct.nii", "HU").array.max() == pytest.approx(-824)


def test_a_fourth_axis_of_one_is_dropped_and_nifti2_is_read(tmp_path: Path) -> None:
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4, 1)
    nib.save(nib.Nifti2Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    assert read_nifti(tmp_path / "a.nii.gz", "a.u.").array.shape == (4, 3, 2)


def test_metres_become_millimetres(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.diag([0.001, 0.001, 0.002, 1]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii")
    assert read_nifti(tmp_path / "a.nii", "a.u.").spacing_mm == pytest.approx((2, 1, 1))


def test_unusable_files_are_refused_by_name(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4000, (20, 20, 20)).astype(np.int16)
    good = save(tmp_path / "good.nii.gz", noise, np.eye(4)).read_bytes()
    plain = gzip.decompress(good)
    flat = bytearray(plain)
    flat[312:328] = bytes(16)  # srow_z: the third row of the affine
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    with_nan = noise.astype(np.float32)
    with_nan[3, 4, 5] = np.nan
    colour = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    cases: dict[str, tuple[bytes, str]] = {
        "truncated.nii.gz": (good[: len(good) // 2], "truncated"),
        "last_bytes_missing.nii.gz": (good[:-4], "truncated"),
        "flipped_bits.nii.gz": (bytes(flipped), "truncated"),
        "truncated.nii": (plain[:-1000], "truncated"),
        "header_only.nii": (plain[:200], "truncated"),
        "empty.nii": (b"", "truncated"),
        "text.nii.gz": (b"not found", "truncated"),
        "nan.nii": (nib.Nifti1Image(with_nan, np.eye(4)).to_bytes(), "1 NaN"),
        "complex.nii": (
            nib.Nifti1Image(noise.astype(np.complex64), np.eye(4)).to_bytes(),
            "complex",
        ),
        "colour.nii": (nib.Nifti1Image(colour, np.eye(4)).to_bytes(), "colour"),
        "frames.nii": (
            nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), np.eye(4)).to_bytes(),
            "4x4x4x3",
        ),
        "flat.nii": (bytes(flat), "affine"),
    }
    for name, (content, reason) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=reason) as caught:
            read_nifti(path, "a.u.")
        assert name in str(caught.value)
    with pytest.raises(InputError, match=r"absent\.nii"):
        read_nifti(tmp_path / "absent.nii", "a.u.")


def test_source_names_the_content_not_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "JohnDoe.nii", np.ones((2, 2, 2), np.int16), np.eye(4))
    source = NiftiScan(path).source
    assert "sha256" in source
    assert "John" not in source


def test_stem() -> None:
    assert nifti_stem(Path("x/IXI002-Guys-0828-T2.nii.gz")) == "IXI002-Guys-0828-T2"
    assert nifti_stem(Path("P1.v2.NII")) == "P1.v2"
