"""The commands beside train and evaluate: prepare and contact_sheet."""

from pathlib import Path

import nibabel as nib
import numpy as np
from conftest import TINY, Command
from PIL import Image

from amir_lightning.data.store import Store


def brains(folder: Path, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        scan = np.zeros((64, 64, 6), dtype=np.int16)
        scan[12:52, 12:52] = rng.integers(300, 900, size=(40, 40, 6))
        nib.save(nib.Nifti1Image(scan, np.diag([1.0, 1.0, 3.0, 1.0])), folder / f"P{number}.nii.gz")


def test_prepared_scans_are_trained_on(command: Command, tmp_path: Path) -> None:
    brains(tmp_path / "raw", 3)
    data = f"paths.data_dir={tmp_path / 'own'}"
    done = command("prepare", "task=mri", "raw_dir=raw", "central_slices=4", data)
    assert done.status == 0, done.err
    assert "python -m amir_lightning.train task=mri" in done.out
    store = Store(tmp_path / "own" / "prepared" / "mri.h5", "mri")
    assert [len(store.slices(split)) for split in ("train", "val", "test")] == [4, 4, 4]

    trained = command("train", *TINY, "task=mri", data)
    assert trained.status == 0, trained.err
    assert "mri: prepared data" in trained.err


def test_mistakes_in_prepare(command: Command, tmp_path: Path) -> None:
    brains(tmp_path / "raw", 3)
    for options, text in (
        (["task=mri"], "raw_dir"),
        (["raw_dir=raw"], "task is not set"),
        (["task=mri", "raw_dir=nowhere"], "nowhere"),
        (["task=mri+ct", "raw_dir=raw"], "prepare one at a time"),
        (["task=mri", "raw_dir=raw", "central_slices=abc"], "central_slices"),
        (["task=mri", "raw_dir=raw", "compression=zip"], "compression"),
        (["task=mri", "raw_dir=raw", "gap=-1"], "gap"),
    ):
        done = command("prepare", *options, f"paths.data_dir={tmp_path / 'own'}")
        assert done.status == 2, options
        assert text in done.err
        assert "Traceback" not in done.err
    assert not list((tmp_path / "own").rglob("*.h5"))


def test_contact_sheet_shows_pairs(command: Command) -> None:
    done = command("contact_sheet", *TINY, "task=mri+pet", "output=sheet.png", "patients=1")
    assert done.status == 0, done.err
    with Image.open("sheet.png") as picture:
        assert picture.width >= 2 * 64
        assert len(set(picture.convert("L").tobytes())) > 50


def test_contact_sheet_shows_what_is_known_of_embedded_patients(
    command: Command, tmp_path: Path
) -> None:
    options = [*TINY, "task=ct", "patients=1"]
    assert command("contact_sheet", *options, "output=pairs.png").status == 0
    assert command("contact_sheet", *options, "masks=true", "output=masks.png").status == 0
    pairs, masks = (Image.open(tmp_path / f"{name}.png") for name in ("pairs", "masks"))
    assert masks.width > 1.4 * pairs.width
    assert _coloured(masks) > 100 > 0 == _coloured(pairs)


def _coloured(picture: Image.Image) -> int:
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    return int((np.ptp(pixels, axis=-1) > 50).sum())
