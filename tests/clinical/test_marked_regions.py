"""Masks that a user gives for real patients: the same grid, the labels that are asked for."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from omegaconf import OmegaConf

from amir_lightning.clinical.masks import Masks
from amir_lightning.clinical.scoring import Scoring, Setting
from amir_lightning.config import CONF_DIR, plain
from amir_lightning.data.embedded import Cohort
from amir_lightning.data.pairs import cut_slices
from amir_lightning.data.store import PreparedPatient, SliceRef, Store, write_store
from amir_lightning.errors import InputError
from amir_lightning.io.nifti.scan import NiftiScan
from amir_lightning.tasks import load_task

SHAPE = (30, 24, 6)  # x, y, z of the file
AFFINE = np.diag([2.0, 1.5, 3.0, 1.0])


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), path)  # as some tools save labels
    return path


def labelled() -> np.ndarray:
    """An organ (2) with a lesion (1), and a flat region (3)."""
    voxels = np.zeros(SHAPE, int)
    voxels[4:20, 4:20, 1:5] = 2
    voxels[10:14, 8:12, 2:4] = 1
    voxels[22:28, 4:20, :] = 3
    return voxels


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A patient whose scan lies in a NIfTI file; slices 1 to 4 are scored."""
    rng = np.random.default_rng(0)
    scan = NiftiScan(save(tmp_path / "scan.nii.gz", rng.integers(0, 100, SHAPE))).read()
    pairs = cut_slices(scan.array, scan.array, scan.affine, "axial").take(np.arange(1, 5))
    patient = PreparedPatient(
        "P1", *pairs[:3], ["test"] * 4, pairs.affine, pairs.spacing_mm, source="nifti"
    )
    write_store(
        tmp_path / "ct.h5",
        load_task("ct"),
        [patient],
        degradation={},
        source="scans",
        split_kind="patients",
    )
    return Store(tmp_path / "ct.h5", "ct")


@pytest.fixture
def refs(store: Store) -> list[SliceRef]:
    return store.slices("test")


@pytest.fixture
def folder(tmp_path: Path, refs: list[SliceRef]) -> Path:
    save(tmp_path / "masks" / f"{refs[0].patient}.nii.gz", labelled())
    write_labels(tmp_path / "masks", "1,cyst,lesion", "2,liver,organ", "3,spleen,flat")
    return tmp_path / "masks"


def write_labels(folder: Path, *lines: str) -> None:
    (folder / "labels.csv").write_text("\n".join(["label,name,kind", *lines]) + "\n")


def test_regions_lie_where_they_were_marked(
    folder: Path, store: Store, refs: list[SliceRef], tmp_path: Path
) -> None:
    masks = Masks(folder)
    masks.check([(store, refs)])
    found = masks.of(store, refs)
    assert found is not None
    lesion, organ, flat = found.lesions[0], found.organs[0], found.flat[0]
    assert (lesion.name, organ.name, flat.name) == ("cyst", "liver", "spleen")
    # Brought into the order of the store as the scan itself, slices 1 to 4 of it.
    cut = NiftiScan(save(tmp_path / "same.nii.gz", labelled())).read().array[1:5]
    assert np.array_equal(lesion.mask, cut == 1)
    assert np.array_equal(lesion.around, cut == 2)
    assert np.array_equal(flat.mask, cut == 3)
    assert lesion.value is None
    assert found.marked


def test_a_patient_without_a_mask_has_no_regions(folder: Path, store: Store) -> None:
    assert Masks(folder).of(store, [SliceRef("another", 0, 0)]) is None


def test_without_organs_the_ring_may_lie_anywhere(
    folder: Path, store: Store, refs: list[SliceRef]
) -> None:
    save(folder / f"{refs[0].patient}.nii.gz", np.where(labelled() == 1, 1, 0))
    write_labels(folder, "1,cyst,lesion")
    found = Masks(folder).of(store, refs)
    assert found is not None
    assert found.lesions[0].around.sum() > 1000
    assert not (found.lesions[0].around & found.lesions[0].mask).any()


def test_masks_that_do_not_fit_are_one_sentence(
    folder: Path, store: Store, refs: list[SliceRef]
) -> None:
    path = folder / f"{refs[0].patient}.nii.gz"
    moved = AFFINE.copy()
    moved[0, 3] = 5
    for voxels, affine, text in (
        (labelled()[:-1], AFFINE, "6 axial slices of 24x29 pixels, and the scan has at least 5 of"),
        (labelled()[:, :, :4], AFFINE, "has 4 axial slices"),
        (labelled(), moved, "lies at another place than the scan"),
        (labelled() + 4, AFFINE, "has the label 4, which"),
        (labelled() - 1, AFFINE, "has values that are no labels, such as -1;"),
        (labelled() / 4, AFFINE, r"has values that are no labels, such as 0\.[257]"),
        (labelled()[:, :, 2], AFFINE, "expected one 3-D scan"),
    ):
        save(path, voxels, affine)
        with pytest.raises(InputError, match=text):
            Masks(folder).check([(store, refs)])
    path.rename(folder / "P1.nii.gz")
    with pytest.raises(InputError, match=rf"expected names such as {path.name}; rename the masks"):
        Masks(folder).check([(store, refs)])


def test_real_patients_say_why_they_have_no_added_lesions(
    folder: Path, store: Store, refs: list[SliceRef], tmp_path: Path
) -> None:
    options = plain(OmegaConf.load(CONF_DIR / "measures" / "default.yaml"))
    stores = {load_task("ct"): tmp_path / "ct.h5"}
    scoring = Scoring(Setting(stores, "test", options, Cohort(1, 1, 1, 0), folder, 0))
    rng = np.random.default_rng(0)
    for ref in refs:
        images = rng.normal(50, 10, (3, *store.shape(ref))).astype(np.float32)
        scoring.add("ct", ref.patient, ref.slice_index, *images)
    found = scoring.finish(lambda task, lq: pytest.fail("a real patient was scanned again"))
    assert "lesion_error" in {one.measure for one in found.overall if one.values}
    reasons = {one.measure: one.left_out for one in found.overall if one.left_out}
    for measure in ("insert_recovery", "ttf50", "observer_auc", "observer_gain", "bias", "spread"):
        assert reasons[measure].endswith("need embedded patients")


def test_labels_that_nobody_marked_are_one_sentence(
    folder: Path, store: Store, refs: list[SliceRef]
) -> None:
    write_labels(folder, "1,cyst,lesion", "2,liver,organ", "3,spleen,flat", "7,node,lesion")
    with pytest.raises(InputError, match=r"no scored slice has the label 7 \(node\)"):
        Masks(folder).check([(store, refs)])


def test_bad_tables_of_labels_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which is no folder"):
        Masks(tmp_path / "nowhere")
    for lines, text in (
        (["1,cyst,tumour"], "of kind 'tumour', expected a number above 0 and one of lesion, organ"),
        (["0,air,organ"], "has label 0"),
        (["one,cyst,lesion"], "has a line that is no label"),
        (["1"], "has a line that is no label"),
        (["1,cyst,lesion", "1,liver,organ"], "gives the label 1 to cyst and liver, expected one"),
        ([], "names no label; write lines such as"),
    ):
        write_labels(folder, *lines)
        with pytest.raises(InputError, match=text):
            _ = Masks(folder).labels
    (folder / "labels.csv").write_text("label;name;kind\n1;cyst;lesion\n")
    with pytest.raises(InputError, match="has no column 'label'; write lines such as 1,metastasis"):
        _ = Masks(folder).labels
    (folder / "labels.csv").unlink()
    with pytest.raises(InputError, match=r"labels.csv cannot be read"):
        _ = Masks(folder).labels
