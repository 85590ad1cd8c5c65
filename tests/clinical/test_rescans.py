"""Embedded patients scanned again: what a network that is known in closed form gives."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from torch import Tensor

from amir_lightning.clinical import known
from amir_lightning.clinical.inserts import Insert, add_ball, scan_inserts
from amir_lightning.clinical.rescans import Anatomy, measure_draws
from amir_lightning.data.embedded import Redrawn
from amir_lightning.errors import InputError
from amir_lightning.io.volume import Labels, Volume, lps_affine
from amir_lightning.tasks import Plane, Task, load_task

NOISE = 20.0
OPTIONS: dict[str, Any] = {
    "per_slice": 2,
    "MR": {"organ": "liver", "radius_mm": 4.0, "contrasts": [50.0, 100.0]},
}


def mri(noise: float = NOISE, factor: float = 1.0) -> Task:
    """MRI whose input is HQ at factor 1."""
    node = {
        "_target_": "amir_lightning.degradation.KSpaceCrop",
        "factor": factor,
        "noise": noise,
    }
    return replace(load_task("mri"), degradation=node)


def anatomies(count: int = 6) -> list[Anatomy]:
    """Patients of 400 a.u. with a liver that fills the middle; slices 1 and 3 are stored."""
    organs = np.zeros((4, 64, 64), np.uint8)
    organs[:, 4:60, 4:60] = 1
    labels = Labels(organs, np.zeros_like(organs), ("air", "liver"), ())
    found = []
    for number in range(count):
        array = np.full((4, 64, 64), 400, np.float32)
        volume = Volume(array, lps_affine((3, 1, 1)), "a.u.", f"patient {number}", labels)
        found.append(Anatomy(Redrawn(f"id{number}", number, volume), np.array([1, 3]), number))
    return found


def insert_of(task: Task, **changes: Any) -> Insert:
    insert = Insert.of(task, {**OPTIONS, "MR": {**OPTIONS["MR"], **changes}})
    assert insert is not None
    return insert


@dataclass(frozen=True)
class Same:
    """Both scans show the truth."""

    def acquire(
        self, truth: Tensor, spacing_mm: tuple[float, float, float], seed: int
    ) -> tuple[Tensor, Tensor]:
        return truth.clone(), truth.clone()


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_lesions_lie_in_the_middle_of_their_squares_in_every_plane(plane: Plane) -> None:
    task = replace(load_task("mri"), plane=plane, degradation={"_target_": f"{__name__}.Same"})
    organs = np.zeros((40, 50, 60), np.uint8)
    organs[2:38, 2:48, 2:58] = 1
    labels = Labels(organs, np.zeros_like(organs), ("air", "liver"), ())
    volume = Volume(
        np.full(organs.shape, 400, np.float32), lps_affine((1.5, 1, 1)), "a.u.", "one", labels
    )
    anatomy = Anatomy(Redrawn("one", 0, volume), np.array([10, 25]), 0)
    insert = insert_of(task)
    absent, faint, clear = scan_inserts(task, [anatomy], insert, lambda _, lq: lq)
    middle = clear.images["hq"].shape[-1] // 2
    assert len(clear.patients) == 4
    assert (absent.images["hq"] == 400).all()
    assert faint.images["restored"][:, middle, middle] == pytest.approx(450)
    assert clear.images["hq"][:, middle, middle] == pytest.approx(500)
    assert clear.images["hq"][:, 0, 0] == pytest.approx(400)


def test_lesions_of_neighbouring_slices_do_not_add_up() -> None:
    task = mri(noise=0)
    close = [one._replace(positions=np.array([0, 1, 2, 3])) for one in anatomies(1)]
    insert = insert_of(task, radius_mm=6.0)
    *_, clear = scan_inserts(task, close, insert, lambda _, lq: lq)
    assert clear.images["hq"].max() == pytest.approx(500, rel=1e-3)


def test_no_lesion_reaches_where_the_observer_looks_for_another() -> None:
    task = replace(load_task("mri"), degradation={"_target_": f"{__name__}.Same"})
    insert = insert_of(task)._replace(per_slice=4)
    absent, *_, clear = scan_inserts(task, anatomies(1), insert, lambda _, lq: lq)
    assert len(clear.patients) == 4
    change = clear.images["hq"] - absent.images["hq"]
    at = np.arange(change.shape[-1]) - change.shape[-1] // 2
    away = np.hypot(at[:, None], at)
    around = (away > insert.radius_mm + 1) & (away <= 2.5 * insert.radius_mm)
    assert around.sum() > 200
    assert (change[:, around] == 0).all()
    assert (change[:, away < 3] == 100).all()


def test_a_ball_has_its_contrast_and_volume() -> None:
    ball = add_ball(np.zeros((21, 31, 31), np.float32), (10, 15, 15), 6, 50, (1, 1, 1))
    assert ball[10, 15, 15] == 50
    assert ball[10, 15, 22] == 0
    assert ball.sum() / 50 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.02)


def test_a_network_that_halves_every_contrast_recovers_a_half() -> None:
    task = mri(noise=0)
    insert = insert_of(task)
    scans = scan_inserts(task, anatomies(2), insert, lambda _, lq: 400 + 0.5 * (lq - 400))
    assert [one.contrast for one in scans] == [0, 50, 100]
    assert scans[0].images["hq"].shape == (4, 21, 21)  # two places in one slice of two patients
    rows = known.recovered(task, insert, scans, (1, 1), {0: "a", 1: "b"})
    assert {row.level for row in rows} == {"50 a.u.", "100 a.u."}
    for row in rows:
        assert row.values["hq"] == pytest.approx(1, rel=1e-3)
        assert row.values["input"] == pytest.approx(1, rel=1e-3)
        assert row.values["restored"] == pytest.approx(0.5, rel=1e-3)
    assert {row.patient for row in rows} == {"a", "b"}


@pytest.mark.parametrize("radius_mm", [6.0, 6.2, 6.3])
def test_the_transfer_of_a_gaussian_and_noise_that_hides_it(radius_mm: float) -> None:
    task = mri(noise=0)
    insert = insert_of(task, radius_mm=radius_mm)

    def blurred(_: Task, lq: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(lq, (0, 1.5, 1.5))

    scans = scan_inserts(task, anatomies(2), insert, blurred)
    found = known.transfer(task, insert, scans, (1, 1))
    assert [one.level for one in found] == ["50 a.u.", "100 a.u."]
    # The border of a ball rises over a pixel, whose variance is 1/12. Half of the transfer of a
    # Gaussian is at 0.1874 / s.
    for one in found:
        assert one.values["restored"] == pytest.approx(0.1874 / np.hypot(1.5, 12**-0.5), rel=0.05)
        assert one.values["hq"] > 2 * one.values["restored"]
    random = np.random.default_rng(0)
    noisy = scan_inserts(
        task, anatomies(2), insert, lambda _, lq: lq + 400 * random.standard_normal(lq.shape)
    )
    assert known.transfer(task, insert, noisy, (1, 1)) == []


def test_the_observer_sees_less_where_contrast_is_removed() -> None:
    task = mri(noise=60)
    insert = insert_of(task, contrasts=[8.0, 60.0])
    options = {"channels": 3, "width": 1.5, "folds": 5}
    scans = scan_inserts(task, anatomies(20), insert, lambda _, lq: lq)
    faint, clear = (
        one
        for one in known.observed(task, insert, scans, (1, 1), options, 100)
        if one.measure == "observer_auc"
    )
    assert faint.values["input"] == faint.values["restored"] == faint.values["hq"]
    assert faint.values["hq"] < clear.values["hq"] - 0.1
    assert clear.values["hq"] > 0.9

    random = np.random.default_rng(0)  # a network that shows nothing but its own noise
    erasing = scan_inserts(
        task, anatomies(20), insert, lambda _, lq: random.standard_normal(lq.shape)
    )
    _, gain = (
        one
        for one in known.observed(task, insert, erasing, (1, 1), options, 100)
        if one.measure == "observer_gain"
    )
    assert gain.interval is not None
    assert gain.interval[1] < 0
    assert gain.values["restored"] < -0.2
    assert gain.values["input"] == 0


def test_bias_and_spread_of_repeated_scans() -> None:
    task = mri()
    options = {"patients": 2, "slices": 2, "count": 12}
    bias, spread, *more = measure_draws(task, anatomies(3), options, lambda _, lq: 0.5 * lq + 230)
    assert len(more) == 2  # of the second patient
    assert (bias.measure, spread.measure) == ("bias", "spread")
    # Magnitude of 400 and noise of 20: almost Gaussian.
    assert spread.values["hq"] == pytest.approx(NOISE, rel=0.05)
    assert bias.values["hq"] == pytest.approx(0, abs=3)
    assert spread.values["restored"] == pytest.approx(NOISE / 2, rel=0.05)
    assert bias.values["restored"] == pytest.approx(30, abs=1)


def test_lesions_that_cannot_be_drawn() -> None:
    task = mri()
    with pytest.raises(InputError, match=r"radius 0.5 mm is smaller than a pixel of 1 x 1 mm"):
        scan_inserts(task, anatomies(1), insert_of(task, radius_mm=0.5), lambda _, lq: lq)
    with pytest.raises(InputError, match="organ is 'brain'; choose from liver"):
        scan_inserts(task, anatomies(1), insert_of(task, organ="brain"), lambda _, lq: lq)
    with pytest.raises(InputError, match="expected numbers other than 0"):
        insert_of(task, contrasts=[0.0, 10.0])
    assert scan_inserts(task, anatomies(1), insert_of(task, radius_mm=40.0), lambda _, lq: lq) == []
    assert Insert.of(task, {"per_slice": 1}) is None
