"""NIfTI headers of every kind: written files read back correctly, also by nibabel."""

import gzip
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.io.nifti.scan import NiftiScan, read_nifti, write_nifti
from amir_lightning.io.nifti.writer import write_nifti_like
from amir_lightning.io.scan import find_scans
from amir_lightning.io.volume import Volume

TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
ORDERS = list(permutations(range(3)))


def affine_of(rng: np.random.Generator, tilt: bool) -> NDArray[np.float64]:
    """Affine of random axis order and handedness, and oblique with `tilt`."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ORDERS[rng.integers(6)]] * rng.choice([-1, 1], 3)
    affine[:3, :3] *= rng.uniform(0.5, 4, 3)
    if tilt:
        c, s = np.cos(0.3), np.sin(0.3)
        affine[:3, :3] = [[1, 0, 0], [0, c, -s], [0, s, c]] @ affine[:3, :3]
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


def odd_file(path: Path, rng: np.random.Generator, version: type[nib.Nifti1Image]) -> None:
    """Write a file with random header fields, from all that scanners and tools use."""
    dtype = np.dtype(str(rng.choice(TYPES))).newbyteorder(str(rng.choice(["<", ">"])))
    shape = tuple(int(length) for length in rng.integers(1, 7, 3))
    shape += (1,) * int(rng.integers(3))
    stored = rng.integers(0, 100, shape).astype(dtype)
    header = version.header_class(endianness=dtype.byteorder.replace("|", "<").replace("=", "<"))
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_xyzt_units(str(rng.choice(["unknown", "mm", "meter", "micron"])))
    header.set_sform(affine_of(rng, bool(rng.integers(2))), int(rng.integers(5)))
    header.set_qform(affine_of(rng, bool(rng.integers(2))), int(rng.integers(5)))
    header["scl_slope"] = rng.choice([0, 1, 0.5, -2, np.nan, np.inf])
    header["scl_inter"] = rng.choice([0, 3, -1024])
    offset = header.single_vox_offset + 16 * int(rng.integers(3))
    header["vox_offset"], header["magic"] = offset, header.single_magic
    content = header.binaryblock.ljust(offset, b"\0") + stored.tobytes(order="F")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("seed", range(60))
def test_a_written_scan_lies_where_its_source_lies(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    suffix = (".nii", ".nii.gz")[seed % 2]
    version = (nib.Nifti1Image, nib.Nifti2Image)[seed // 2 % 2]
    source, output = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    odd_file(source, rng, version)
    scan, theirs = NiftiScan(source), nib.load(source)
    volume = scan.read()
    expected = theirs.get_fdata().reshape(scan.stored_shape)
    metres = {1: 1e3, 3: 1e-3}.get(int(theirs.header["xyzt_units"]), 1.0)
    assert_same_place(volume, expected, np.diag([metres] * 3 + [1]) @ theirs.affine)
    for dtype in ("float32", "source"):
        write_nifti_like(scan, volume.array, output, dtype)
        back = nib.load(output)
        assert back.shape == theirs.shape
        np.testing.assert_allclose(back.affine, theirs.affine, atol=1e-5)
        np.testing.assert_allclose(back.get_fdata(), theirs.get_fdata(), atol=1e-4)
        if dtype == "source":
            assert back.get_data_dtype() == theirs.get_data_dtype()
        again = read_nifti(output, "a.u.")
        np.testing.assert_allclose(again.array, volume.array, atol=1e-4)
        np.testing.assert_allclose(again.affine, volume.affine, atol=1e-5 * metres)
        for key in ("qform_code", "sform_code", "xyzt_units"):
            assert back.header[key] == theirs.header[key]


def assert_same_place(volume: Volume, stored: np.ndarray, affine: NDArray[np.float64]) -> None:
    """Every stored voxel has its value at its place in the canonical volume."""
    index = np.stack(np.meshgrid(*map(np.arange, stored.shape), indexing="ij"), -1).reshape(-1, 3)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    inverse = np.linalg.inv(volume.affine)
    x, y, z = np.rint(world @ inverse[:3, :3].T + inverse[:3, 3]).astype(int).T
    np.testing.assert_allclose(volume.array[z, y, x], stored.ravel(), rtol=1e-6)
    back = np.stack([x, y, z], 1) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    np.testing.assert_allclose(back, world, atol=1e-3 * max(volume.spacing_mm))


def edited(path: Path, **fields: object) -> Path:
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4))
    header = image.header
    header["vox_offset"], header["magic"] = 352, b"n+1"
    for key, value in fields.items():
        header[key] = value
    path.write_bytes(header.binaryblock + bytes(4) + bytes(2 * 120))
    return path


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"vox_offset": 0}, "vox_offset is 0, expected 352 or more"),
        ({"vox_offset": 348}, "348"),
        ({"vox_offset": -16}, "-16"),
        ({"vox_offset": 352.5}, "vox_offset is 352.5"),
        ({"vox_offset": np.nan}, "not a readable NIfTI file"),
        ({"vox_offset": np.inf}, "vox_offset is inf, expected 352 or more"),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 2}, "correct its header"),
        ({"vox_offset": 1e9}, "more than so small a file can hold"),
        ({"scl_slope": 1, "scl_inter": np.nan}, "scl_slope=1 and scl_inter=nan"),
        ({"scl_slope": 2, "scl_inter": np.inf}, "scl_slope=2 and scl_inter=inf"),
        ({"magic": b"ni1"}, "voxels are in an .img file"),
        ({"datatype": 1, "bitpix": 1}, "data code 1 not supported"),
        ({"datatype": 1536, "bitpix": 128}, "float128|code 1536 not supported"),
        ({"datatype": 3}, "not a readable NIfTI file"),
        ({"sform_code": 2, "srow_x": 0}, "singular or non-finite affine"),
        ({"sform_code": 1, "srow_x": [1, 0, 0, np.nan]}, "singular or non-finite affine"),
        ({"dim": [2, 4, 5, 1, 1, 1, 1, 1]}, "is 4x5; expected one 3-D scan: stack the slices"),
        ({"dim": [4, 4, 5, 2, 3, 1, 1, 1]}, "4x5x2x3.*save each volume in a separate file"),
        ({"dim": [4, 6, 7, 1, 9, 1, 1, 1]}, "6x7x1x9; .*axis of 9 counts slices, .* as 6x7x9;"),
        ({"dim": [5, 6, 7, 1, 2, 3, 1, 1]}, "6x7x1x2x3; .*save each volume in a separate file"),
        ({"dim": [3, 4, 5, 0, 1, 1, 1, 1]}, "is 4x5x0; .*it holds no voxels, so save it again"),
        ({"datatype": 128, "bitpix": 24}, "colour .*save shades of grey"),
        ({"datatype": 32, "bitpix": 64}, "complex .*save the magnitude"),
    ],
)
def test_a_header_that_cannot_be_followed_is_refused_at_once(
    tmp_path: Path, fields: dict[str, object], reason: str
) -> None:
    big = {"vox_offset", "bitpix"} & set(fields)
    path = edited(tmp_path / "odd.nii", **fields)
    if big != {"vox_offset"}:
        path.write_bytes(path.read_bytes() + bytes(4000))  # room for larger voxels
    with pytest.raises(InputError, match=reason) as caught:
        NiftiScan(path)
    assert "odd.nii" in str(caught.value)
    # Copying again is advised only if the file is shorter than it declares.
    assert ("truncated" in str(caught.value)) == (fields == {"vox_offset": 1e9})


def test_the_largest_integers_do_not_turn_over(tmp_path: Path) -> None:
    nib.save(
        nib.Nifti1Image(np.ones((2, 2, 2), np.int64), np.eye(4), dtype=np.int64), tmp_path / "a.nii"
    )
    scan = NiftiScan(tmp_path / "a.nii")
    write_nifti_like(scan, np.full((2, 2, 2), 1e19, np.float32), tmp_path / "b.nii", "source")
    assert nib.load(tmp_path / "b.nii").get_fdata().min() > 9e18


def test_pairs_of_header_and_image_are_set_aside_with_the_reason(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(np.ones((4, 5, 6), np.int16), np.eye(4)), tmp_path / "pair.hdr")
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)), tmp_path / "one.nii")
    (tmp_path / "alone.img").touch()
    scans, skipped = find_scans(tmp_path)
    assert [scan.path.name for scan in scans] == ["one.nii"]
    reasons = {one.path.name: one.reason for one in skipped}
    assert "pair (convert it to .nii)" in reasons["pair.hdr"]
    assert "pair (convert it to .nii)" in reasons["pair.img"]
    assert "not a NIfTI" in reasons["alone.img"]
    with pytest.raises(InputError, match="half of a .hdr and .img pair"):
        find_scans(tmp_path / "pair.img")


@pytest.mark.parametrize("shear", [0.0, 0.6])
def test_a_qform_that_cannot_say_the_shear_of_a_tilted_stack_has_code_0(
    tmp_path: Path, shear: float
) -> None:
    affine = np.diag([-0.9, -0.9, 3.0, 1.0])
    affine[1, 2] = shear
    write_nifti(tmp_path / "a.nii", Volume(np.ones((5, 6, 7), np.float32), affine, "HU", "x"))
    image = nib.load(tmp_path / "a.nii")
    np.testing.assert_allclose(image.get_sform(), affine, atol=1e-6)
    assert image.header["sform_code"] == 1
    assert image.header["qform_code"] == (0 if shear else 1)
    if not shear:
        np.testing.assert_allclose(image.get_qform(), affine, atol=1e-5)


def test_an_sform_of_zeros_gives_way_to_a_qform(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    affine = np.diag([-0.9, -0.9, 3.0, 1.0])
    write_nifti(tmp_path / "a.nii", Volume(np.ones((5, 6, 7), np.float32), affine, "HU", "x"))
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[280:328] = bytes(48)  # srow_x, srow_y and srow_z
    (tmp_path / "a.nii").write_bytes(content)
    scan = NiftiScan(tmp_path / "a.nii")
    assert "a.nii has sform_code 1 but an all-zero sform: using its qform" in caplog.text
    np.testing.assert_allclose(scan.affine, affine, atol=1e-5)
    write_nifti_like(scan, np.ones(scan.shape, np.float32), tmp_path / "b.nii")
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii").affine, affine, atol=1e-5)
    content[252:254] = bytes(2)  # no qform either
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(InputError, match="singular"):
        NiftiScan(tmp_path / "a.nii")
