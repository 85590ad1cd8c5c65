"""Organs and lesions: labelled where the truth has their values, without a change to the truth."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from amir_lightning.io.volume import Labels, Lesion, Volume
from amir_lightning.phantoms import Abdomen, Body, Brain
from amir_lightning.phantoms.abdomen.patient import Patient as CtPatient
from amir_lightning.phantoms.body.uptake import sample_uptake
from amir_lightning.phantoms.brain.t2_signal import TISSUES, signal
from amir_lightning.phantoms.masks import Masks

SEEDS = range(5)
PHANTOMS = {"brain": Brain(128, 12), "abdomen": Abdomen(160, 8), "body": Body(96, 150)}
SMALL = [Brain(48, 4), Abdomen(48, 3), Body(32, 40)]


class Patient(NamedTuple):
    """A volume, and the values that its tissues were drawn with."""

    volume: Volume
    table: dict[str, float]

    @property
    def labels(self) -> Labels:
        assert self.volume.labels is not None
        return self.volume.labels

    def organ(self, name: str) -> NDArray[np.float32]:
        """Values inside an organ, away from its edges and its lesions."""
        labels = self.labels
        healthy = (labels.organs == labels.organ_names.index(name)) & (labels.lesions == 0)
        return self.volume.array[binary_erosion(healthy, np.ones((1, 3, 3)))]

    def lesions(self, kind: str, voxels: int = 1) -> Iterator[tuple[Lesion, NDArray[np.bool_]]]:
        """Lesions of a kind with their masks, of at least so many voxels."""
        for number, found in enumerate(self.labels.lesion_list, start=1):
            mask = self.labels.lesions == number
            if kind in found.kind and mask.sum() >= voxels:
                yield found, mask

    def share_in(self, mask: NDArray[np.bool_], *names: str) -> float:
        """Share of a mask in some organs."""
        codes = [self.labels.organ_names.index(name) for name in names]
        return float(np.isin(self.labels.organs[mask], codes).mean())


@pytest.fixture(scope="module")
def patients() -> dict[str, list[Patient]]:
    tables: dict[str, list[dict[str, float]]] = {"brain": [], "abdomen": [], "body": []}
    tables["brain"] = [{tissue: float(signal(tissue)) for tissue in TISSUES}] * len(SEEDS)
    original = CtPatient.draw
    with pytest.MonkeyPatch.context() as patch:

        def draw(rng: np.random.Generator) -> CtPatient:
            patient = original(rng)
            tables["abdomen"].append(patient.hu)
            return patient

        def uptake(rng: np.random.Generator) -> dict[str, float]:
            tables["body"].append(sample_uptake(rng))
            return tables["body"][-1]

        patch.setattr("amir_lightning.phantoms.abdomen.phantom.Patient.draw", draw)
        patch.setattr("amir_lightning.phantoms.body.phantom.sample_uptake", uptake)
        volumes = {name: [drawn.sample(s) for s in SEEDS] for name, drawn in PHANTOMS.items()}
    return {
        name: [Patient(*pair) for pair in zip(volumes[name], tables[name], strict=True)]
        for name in PHANTOMS
    }


def test_what_is_painted_last_is_labelled_where_it_fills_more_than_half() -> None:
    masks = Masks((1, 1, 5), ("air", "liver", "spleen"))
    masks.organ(np.array([[[1, 1, 0.5, 0, 1]]]), "liver")
    masks.lesion(np.array([[[0, 1, 1, 0, 0.6]]]), "cyst", 6)
    right = (slice(0, 1), slice(0, 1), slice(2, 4))
    masks.lesion(np.array([[[0.6, 0.5]]]), "metastasis", 40, right)
    masks.organ(np.array([[[False, True, False, False, False]]]), "spleen")
    labels = masks.labels(gain=2)
    assert labels.organs.ravel().tolist() == [1, 2, 0, 0, 1]
    assert labels.lesions.ravel().tolist() == [0, 0, 2, 0, 1]
    assert labels.lesion_list == (("cyst", 12), ("metastasis", 80))
    with pytest.raises(ValueError, match="not in"):
        masks.organ(np.zeros((1, 1, 5)), "knee")


@pytest.mark.parametrize("phantom", SMALL, ids=lambda phantom: type(phantom).__name__)
def test_labels_do_not_change_the_image(
    phantom: Brain | Abdomen | Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled = [phantom.sample(seed).array.tobytes() for seed in range(2)]
    monkeypatch.setattr(Masks, "organ", lambda *_: None)
    monkeypatch.setattr(Masks, "lesion", lambda *_: None)
    assert [phantom.sample(seed).array.tobytes() for seed in range(2)] == labelled


@pytest.mark.parametrize("name", PHANTOMS)
def test_labels_are_the_same_at_every_run(name: str, patients: dict[str, list[Patient]]) -> None:
    first, again = patients[name][2].labels, PHANTOMS[name].sample(2).labels
    assert again is not None
    assert again.organs.tobytes() == first.organs.tobytes()
    assert again.lesions.tobytes() == first.lesions.tobytes()
    assert again.lesion_list == first.lesion_list
    for patient in patients[name]:
        labels = patient.labels
        assert labels.organs.dtype == labels.lesions.dtype == np.uint8
        assert labels.organs.shape == labels.lesions.shape == patient.volume.array.shape
        assert labels.organs.max() < len(labels.organ_names)
        assert labels.lesions.max() <= len(labels.lesion_list)


def test_tissues_of_the_head_have_their_signal(patients: dict[str, list[Patient]]) -> None:
    for patient in patients["brain"]:
        gain = patient.organ("white matter").mean() / patient.table["white"]  # of scan and coil
        assert 0.8 < gain < 1.25
        for name, tissue, low, high in (
            ("grey matter", "grey", 0.95, 1.25),  # with some CSF
            ("ventricles", "csf", 0.8, 1.1),
            ("striatum", "striatum", 0.85, 1.15),
            ("thalamus", "thalamus", 0.85, 1.15),
            ("fat", "fat", 0.35, 1.05),  # differs with the protocol
        ):
            assert low < patient.organ(name).mean() / gain / patient.table[tissue] < high, name


def test_tissues_of_the_abdomen_have_their_attenuation(patients: dict[str, list[Patient]]) -> None:
    seen = set()
    for patient in patients["abdomen"]:
        for name, tissue, below, above in (
            ("liver", "liver", 3, 3),
            ("spleen", "spleen", 3, 3),
            ("kidney", "medulla", 2, 22),  # and cortex
            ("aorta", "blood", 18, 22),
            ("vena cava", "blood", 14, 14),
            ("gallbladder", "bile", 3, 3),
            ("fat", "fat", 4, 6),
            ("muscle", "muscle", 14, 2),  # marbled by fat
            ("lung", "lung", 10, 50),  # with vessels
            ("bone", "trabecular", 0, 200),  # and cortical
        ):
            inside = patient.organ(name)
            if inside.size > 20:
                value = patient.table[tissue]
                assert value - below < inside.mean() < value + above, name
                seen.add(name)
    assert len(seen) == 10


def test_organs_of_the_body_have_their_uptake(patients: dict[str, list[Patient]]) -> None:
    seen = set()
    for patient in patients["body"]:
        for name, tissue, low, high in (
            ("liver", "liver", 0.93, 1.07),
            ("spleen", "spleen", 0.93, 1.07),
            ("kidney", "kidney", 0.75, 1.2),
            ("lung", "lung", 0.9, 1.7),  # with vessels
            ("muscle", "muscle", 0.8, 1.1),
            ("fat", "fat", 0.8, 1.2),
            ("bladder", "bladder", 0.85, 1.1),
            ("aorta", "blood", 0.9, 1.1),
            ("myocardium", "myocardium", 0.8, 1.3),
            ("cerebellum", "cerebellum", 0.85, 1.15),
            ("grey matter", "cortex", 0.6, 1.1),  # thinner than a voxel
        ):
            inside = patient.organ(name)
            if inside.size > 5:
                assert low < inside.mean() / patient.table[tissue] < high, name
                seen.add(name)
        assert patient.organ("air").mean() < 0.01
    assert len(seen) == 11


def test_lesions_of_the_head_have_their_signal_in_white_matter(
    patients: dict[str, list[Patient]],
) -> None:
    kinds = set()
    for patient in patients["brain"]:
        white = patient.organ("white matter").mean()
        for kind in ("tumour", "oedema", "necrosis", "infarct"):
            for found, mask in patient.lesions(kind, voxels=30):
                contrast = (patient.volume.array[mask].mean() - white) / (found.value - white)
                assert 0.6 < contrast < 1.4, found
                kinds.add(kind)
                if kind != "infarct":  # which lets the tissue below through
                    gain = found.value / patient.table["csf" if kind == "necrosis" else kind]
                    assert gain == pytest.approx(white / patient.table["white"], rel=0.15)
                    assert gain != pytest.approx(1, abs=1e-3)  # it is that of the scan
        for _, mask in patient.lesions("gliosis"):
            assert patient.share_in(mask, "white matter") == 1
            kinds.add("gliosis")
    assert kinds == {"tumour", "oedema", "necrosis", "infarct", "gliosis"}


def test_lesions_of_the_abdomen_lie_in_liver_and_kidneys(
    patients: dict[str, list[Patient]],
) -> None:
    kinds = set()
    for patient in patients["abdomen"]:
        for _, mask in patient.lesions("metastasis"):
            assert patient.share_in(mask, "liver", "vessels") == 1
        for found, mask in patient.lesions("", voxels=25):
            organ = max(("liver", "kidney"), key=lambda name: patient.share_in(mask, name))
            around = patient.organ(organ).mean()
            contrast = (patient.volume.array[mask].mean() - around) / (found.value - around)
            assert 0.7 < contrast < 1.1, found
            kinds.add((found.kind, organ))
    assert kinds >= {("metastasis", "liver"), ("cyst", "kidney")}


def test_lesions_of_the_body_are_hot_where_they_grow(patients: dict[str, list[Patient]]) -> None:
    seen = 0
    for patient in patients["body"]:
        for _, mask in patient.lesions("liver"):
            assert patient.share_in(mask, "liver", "vessels") > 0.5
        for _, mask in patient.lesions("lung"):
            assert patient.share_in(mask, "lung", "mediastinum", "heart", "bone") > 0.5
        for found, mask in patient.lesions("tumour", voxels=8):
            assert 0.6 < patient.volume.array[mask].mean() / found.value < 1.3, found
            seen += 1
    assert seen > 3
