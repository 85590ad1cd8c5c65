"""Layout ``fastmri``: real k-space is undersampled, and HQ is what fastMRI stores."""

import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Command
from fastmri_files import COLUMNS, ROWS, SIZE, SLICES, reconstructed, write_volume

from amir_lightning.data.layouts import LAYOUTS, detect
from amir_lightning.data.layouts.fastmri import fastmri
from amir_lightning.data.pairs import patient_seed, with_lq
from amir_lightning.data.splits import SPLITS
from amir_lightning.data.store import Store, patient_id
from amir_lightning.degradation import KSpaceCrop, OneOf, RicianNoise, Undersampling
from amir_lightning.degradation.undersampling import sampled_lines
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import Damaged, summarise
from amir_lightning.tasks import load_task

MRI, ACCELERATED = load_task("mri"), load_task("mri_accel")
EVERY_FOURTH = np.arange(COLUMNS) % 4 == 0
FOURFOLD = Undersampling(factor=OneOf((4,)), centre=0.32, power=2.0, noise=17.0)


def test_hq_is_the_stored_image_up_to_one_factor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_volume(tmp_path / "multicoil_train" / "file1000001.h5", patient="a1")
    (tmp_path / "readme.txt").touch()
    with caplog.at_level(logging.WARNING):
        (patient,), skipped = fastmri(tmp_path, MRI)
        hq = patient.read().hq
    with h5py.File(patient.files[0]) as file:
        stored = file["reconstruction_rss"][:]
    assert hq.array.shape == stored.shape == (SLICES, SIZE, SIZE)
    factor = hq.array.max() / stored.max()
    np.testing.assert_allclose(hq.array, stored * factor, rtol=1e-4, atol=1e-2)
    assert np.percentile(hq.array, 99.9) == pytest.approx(1700, rel=1e-4)
    assert hq.spacing_mm == (5.0, 2.0, 2.5)  # field of view over samples, and the thickness
    assert hq.units == "a.u."
    assert (patient.key, patient.identity) == ("file1000001", "a1")
    assert summarise(skipped) == "1 x no HDF5 file"
    assert not caplog.text
    assert detect(tmp_path, MRI) == "fastmri"
    assert LAYOUTS["fastmri"] is fastmri


def test_lq_comes_from_the_kspace_of_the_coils(command: Command, tmp_path: Path) -> None:
    kspace = {}
    for number in range(4):
        name = f"file100000{number}"
        kspace[name] = write_volume(tmp_path / "raw" / f"{name}.h5", number, patient=f"p{number}")
    for task in ("mri_accel", "mri"):
        done = command("prepare", f"task={task}", "raw_dir=raw", "jobs=1", f"output={task}.h5")
        assert done.status == 0, done.err
        assert "raw is read as dataset=fastmri" in done.err
    accelerated, low_resolution = Store(Path("mri_accel.h5")), Store(Path("mri.h5"))
    for name, one in kspace.items():
        key = patient_id(name)
        hq = _images(accelerated, key)[1]
        scale = hq.max() / reconstructed(one).max()
        lines = torch.Generator().manual_seed(patient_seed(0, key))
        factor = accelerated.parameters(key)["factor"]
        masks = [sampled_lines(COLUMNS, factor, 0.32, 2.0, lines).numpy() for _ in range(SLICES)]
        expected = reconstructed(one * np.stack(masks)[:, None, None]) * scale
        np.testing.assert_allclose(_images(accelerated, key)[0], expected, rtol=1e-3, atol=0.05)
        # An image's magnitude has neither coils nor phase, and gives another LQ.
        magnitude = Undersampling(factor, 0.32, 2.0, 0.0)
        other = magnitude.degrade(torch.from_numpy(hq), (5.0, 2.0, 2.5), patient_seed(0, key))
        assert np.abs(other.numpy() - expected).mean() > 20
        centre = np.zeros((ROWS, COLUMNS))
        centre[ROWS // 2 - 8 : ROWS // 2 + 8, COLUMNS // 2 - 5 : COLUMNS // 2 + 5] = 1
        expected = reconstructed(one * centre) * scale
        np.testing.assert_allclose(_images(low_resolution, key)[0], expected, rtol=1e-3, atol=0.05)


def _images(store: Store, key: str) -> tuple[np.ndarray, np.ndarray]:
    refs = [ref for split in SPLITS for ref in store.slices(split) if ref.patient == key]
    lq, hq = zip(*(store.read(ref) for ref in sorted(refs)), strict=True)
    return np.stack(lq), np.stack(hq)


def test_a_stored_mask_takes_the_place_of_drawn_lines(tmp_path: Path) -> None:
    kspace = write_volume(tmp_path / "file1.h5", mask=EVERY_FOURTH, patient="a")
    (patient,), _ = fastmri(tmp_path, ACCELERATED)
    scan, drawn = with_lq(patient.read(), ACCELERATED, FOURFOLD, seed=3)
    assert scan.lq is not None
    expected = reconstructed(kspace * EVERY_FOURTH)
    expected *= scan.hq.array.max() / reconstructed(kspace).max()
    np.testing.assert_allclose(scan.lq.array, expected, rtol=1e-3, atol=0.05)
    assert not drawn
    # It says which lines are measured, not which part of k-space is the centre.
    scan, _ = with_lq(patient.read(), MRI, KSpaceCrop(2, 0), seed=3)
    assert scan.lq is not None
    assert np.abs(scan.lq.array - expected).mean() > 1
    # Noise is simulated from the image.
    scan, drawn = with_lq(patient.read(), MRI, RicianNoise(OneOf((40.0,)), 0.0), seed=3)
    assert scan.lq is None
    assert drawn == {"level": 40.0}


def test_volumes_that_are_of_no_use_are_left_out(tmp_path: Path) -> None:
    write_volume(tmp_path / "multicoil_train" / "file1.h5", 1)
    write_volume(
        tmp_path / "multicoil_test" / "file2.h5", 2, EVERY_FOURTH, image=False, test_file=True
    )
    write_volume(tmp_path / "multicoil_train" / "file3.h5", 3)
    with h5py.File(tmp_path / "multicoil_train" / "file3.h5", "a") as file:
        file.attrs["acquisition"] = b"AXFLAIR"
    single = tmp_path / "singlecoil_train" / "file1.h5"
    kspace = write_volume(single, 1)
    with h5py.File(single, "a") as file:
        del file["kspace"], file["reconstruction_rss"]
        file["kspace"] = kspace[:, 0]
        file["reconstruction_esc"] = reconstructed(kspace[:, :1]).astype(np.float32)
    (patient,), skipped = fastmri(tmp_path, MRI, acquisition="AXT2")
    assert patient.files[0].parent.name == "multicoil_train"
    assert summarise(skipped) == (
        "1 x acquisition AXFLAIR, 1 x single-coil copy, "
        "1 x undersampled k-space without HQ (a test file)"
    )
    (patient,), _ = fastmri(tmp_path / "singlecoil_train", MRI)
    hq = patient.read().hq.array
    expected = reconstructed(kspace[:, :1])
    np.testing.assert_allclose(hq / hq.max(), expected / expected.max(), atol=1e-4)


def test_missing_attributes_and_headers_are_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2):
        path = tmp_path / f"file{number}.h5"
        write_volume(path, number, header=None, image=False)
        with h5py.File(path, "a") as file:
            del file.attrs["acquisition"]
    with caplog.at_level(logging.WARNING):
        patients, _ = fastmri(tmp_path, MRI)
        hq = patients[0].read().hq
    assert hq.array.shape == (SLICES, ROWS, COLUMNS)
    assert hq.spacing_mm == (1.0, 1.0, 1.0)
    assert [patient.identity for patient in patients] == ["file0", "file1"]
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(":")[0] for text in said] == [
        "2 files without the attribute patient_id",
        "2 files without a field of view in ismrmrd_header",
        "2 files without an image or a header that says how far the readout is oversampled",
    ]
    with pytest.raises(InputError, match="2 x acquisition unknown"):
        fastmri(tmp_path, MRI, acquisition="AXT2")


def test_the_header_crops_where_no_image_does(tmp_path: Path) -> None:
    write_volume(tmp_path / "file0.h5", image=False)
    wrong = write_volume(tmp_path / "file1.h5", 1, header="<no xml", patient="a")
    patients, _ = fastmri(tmp_path, MRI)
    assert patients[0].read().hq.array.shape == (SLICES, SIZE, SIZE)
    expected = reconstructed(wrong)
    hq = patients[1].read().hq.array
    np.testing.assert_allclose(hq / hq.max(), expected / expected.max(), atol=1e-4)


def test_an_image_of_other_kspace_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "file0.h5"
    write_volume(path, patient="a")
    with h5py.File(path, "a") as file:
        file["reconstruction_rss"][...] *= 1.5
    (patient,), _ = fastmri(tmp_path, MRI)
    with caplog.at_level(logging.WARNING):
        patient.read()
    assert "differs by 50 % from the one that it stores" in caplog.text


def test_an_image_that_the_kspace_cannot_hold_is_said_and_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "file0.h5"
    write_volume(path, patient="a")
    with h5py.File(path, "a") as file:
        del file["reconstruction_rss"]
        file["reconstruction_rss"] = np.ones((SLICES, 2 * ROWS, 2 * ROWS), np.float32)
    (patient,), _ = fastmri(tmp_path, MRI)
    with caplog.at_level(logging.WARNING):
        hq = patient.read().hq
    assert hq.array.shape == (SLICES, SIZE, SIZE)  # the readout is cut as the header says
    assert f"and the one that it stores ({SLICES}, {2 * ROWS}, {2 * ROWS})" in caplog.text


def test_damaged_files_are_one_sentence_each(tmp_path: Path) -> None:
    def broken(name: str, mask: np.ndarray | None = None) -> Path:
        write_volume(tmp_path / name, mask=mask)
        return tmp_path / name

    with h5py.File(broken("a.h5"), "a") as file:
        del file["kspace"]
    broken("b.h5", np.ones(COLUMNS - 8, bool))
    with h5py.File(broken("c.h5"), "a") as file:
        magnitude = np.abs(file["kspace"][:])
        del file["kspace"]
        file["kspace"] = magnitude
    cut = broken("d.h5")
    cut.write_bytes(cut.read_bytes()[:5000])
    with h5py.File(broken("e.h5"), "a") as file:
        del file["kspace"]
        file["kspace"] = h5py.ExternalLink("a.h5", "reconstruction_rss")
    with h5py.File(broken("f.h5"), "a") as file:
        del file["kspace"]
        file.create_dataset("kspace", (10**6, 20, 640, 320), np.complex64, chunks=(1, 1, 640, 320))
    with h5py.File(broken("g.h5"), "a") as file:
        del file["kspace"]
        file.create_group("kspace")
    broken("h.h5", np.zeros(COLUMNS, bool))
    write_volume(tmp_path / "whole.h5")
    patients, skipped = fastmri(tmp_path, MRI)
    assert [patient.key for patient in patients] == ["whole"]
    problems = [one.problem for one in skipped if isinstance(one, Damaged)]
    expected = [
        "a.h5 has no k-space (it holds ismrmrd_header, reconstruction_rss), expected",
        "b.h5 has a mask of 32 lines and k-space of 40 columns, expected",
        "c.h5 has k-space of float32 and shape (3, 4, 64, 40), expected complex",
        "d.h5 is not a readable HDF5 file",
        "e.h5",
        "f.h5: 'kspace' declares more than it holds",
        "g.h5: 'kspace' is no dataset",
        "h.h5 has a mask without a measured line",
    ]
    assert len(problems) == len(expected)
    for problem, text in zip(problems, expected, strict=True):
        assert text in problem
        assert problem.count(". ") == 0


def test_a_problem_stops_the_command(command: Command, tmp_path: Path) -> None:
    for number in range(4):
        mask = np.ones(COLUMNS - 8, bool) if number == 3 else None
        write_volume(tmp_path / "raw" / f"file{number}.h5", number, mask, f"p{number}")
    options = ("task=mri_accel", "raw_dir=raw", "jobs=1", "output=out.h5")
    done = command("prepare", *options)
    assert done.status == 2
    (sentence,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert "has a mask of 32 lines" in sentence
    assert not Path("out.h5").exists()
    assert command("prepare", *options, "on_error=skip").status == 0
    assert (
        len({ref.patient for split in SPLITS for ref in Store(Path("out.h5")).slices(split)}) == 3
    )


def test_parts_and_patients_decide_the_split(command: Command, tmp_path: Path) -> None:
    for number in range(6):
        patient = f"p{number // 2}"  # two volumes each
        write_volume(tmp_path / "raw" / "multicoil_train" / f"a{number}.h5", number, None, patient)
    write_volume(tmp_path / "raw" / "multicoil_val" / "b0.h5", 10, None, "p10")
    done = command("prepare", "task=mri", "raw_dir=raw", "jobs=1", "output=out.h5", "split.train=2",
                   "split.val=1", "split.test=1")  # fmt: skip
    assert done.status == 0, done.err
    store = Store(Path("out.h5"))
    assert store.patients("test") == [patient_id("b0")]
    for number in (0, 2, 4):
        both = {patient_id(f"a{number}"), patient_id(f"a{number + 1}")}
        assert sum(both <= set(store.patients(split)) for split in SPLITS) == 1
    # The full k-space of the test patients, too: each part is what its name says.
    write_volume(tmp_path / "raw" / "multicoil_test_full" / "c0.h5", 11, None, "p11")
    patients, _ = fastmri(tmp_path / "raw", MRI)
    assert {one.key[0]: one.split for one in patients} == {"a": "train", "b": "val", "c": "test"}
    # One part alone says nothing.
    patients, _ = fastmri(tmp_path / "raw" / "multicoil_val", MRI)
    assert patients[0].split is None


def test_even_lines_are_as_many_and_evenly_spread() -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        mask = sampled_lines(320, 4, 0.32, 2.0, generator, even=True)
        assert int(mask.sum()) == 80
        assert mask[160 - 13 : 160 + 13].all()
        gaps = torch.diff(mask[:147].nonzero().flatten())
        assert set(gaps.tolist()) == {5, 6}  # 294 other lines for 54
    starts = {
        int(sampled_lines(320, 4, 0.32, 2.0, torch.Generator().manual_seed(s), True).nonzero()[0])
        for s in range(100)
    }
    assert starts == {0, 1, 2, 3, 4, 5}
