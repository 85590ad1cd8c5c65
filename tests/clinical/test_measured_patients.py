"""Measures of the slices of a patient, whose lesions, noise and borders are known."""

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy import ndimage

from amir_lightning.clinical.patients import (
    Options,
    Slices,
    detect,
    measure_edges,
    measure_noise,
    measure_regions,
)
from amir_lightning.clinical.regions import Region, Regions
from amir_lightning.config import CONF_DIR, plain
from amir_lightning.runs.clinical import Row
from amir_lightning.tasks import load_task

SIZE = 128


@pytest.fixture(scope="module")
def options() -> Options:
    found: Options = plain(OmegaConf.load(CONF_DIR / "measures" / "default.yaml"))
    return found


def disc(row: int, column: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return (np.hypot(y - row, x - column) <= radius)[None]


def noise(seed: int, deviation: float) -> np.ndarray:
    return deviation * np.random.default_rng(seed).standard_normal((1, SIZE, SIZE))


def of(rows: list[Row], measure: str, region: str) -> dict[str, float]:
    (row,) = (row for row in rows if (row.measure, row.region) == (measure, region))
    return {str(name): value for name, value in row.values.items()}


def test_which_lesions_are_erased_and_invented(options: Options) -> None:
    places = {"bright": (40, 64, 140), "dark": (64, 40, 60), "kept": (64, 88, 140)}
    masks = {name: disc(row, column, 6) for name, (row, column, _) in places.items()}
    lesions = np.any([*masks.values()], axis=0)
    liver, spleen = disc(64, 64, 45) & ~lesions, disc(16, 16, 7)
    truth = np.where(disc(64, 64, 45) | spleen, 100.0, -100.0)
    for name, (*_, value) in places.items():
        truth[masks[name]] = value
    restored = truth + noise(2, 10)
    restored[masks["bright"]] -= 40  # gone
    restored[masks["dark"]] += 80  # inverted
    restored[disc(16, 16, 2.5)] += 40  # new, in the only place of the spleen that holds a disc
    images = {"truth": truth, "hq": truth + noise(0, 10), "input": truth + noise(1, 10)}
    slices = Slices(load_task("ct"), "p", {**images, "restored": restored}, (1.0, 1.0))
    regions = Regions(
        tuple(Region(name, mask, liver) for name, mask in masks.items()),
        (Region("liver", liver, ~liver & ~lesions), Region("spleen", spleen, ~spleen)),
        (),
        marked=False,
    )
    rows, seen = detect(slices, regions, options)
    for name, erased in (("bright", 1), ("dark", 1), ("kept", 0)):
        assert of(rows, "lesions_erased", name) == {"hq": 0, "input": 0, "restored": erased}
    invented = [row for row in rows if row.measure == "lesions_invented"]
    assert {row.region for row in invented} == {"spleen 1", *(f"liver {n}" for n in range(1, 5))}
    assert of(rows, "lesions_invented", "spleen 1") == {"hq": 0, "input": 0, "restored": 1}
    assert sum(row.values["restored"] for row in invented) == 1
    assert [one.lesion for one in seen] == [True] * 3 + [False] * 5
    for one in seen[:3]:
        assert one.values["hq"] == pytest.approx(40 / 10, rel=0.2)


def test_errors_and_uptake_of_a_lesion_and_its_organ(options: Options) -> None:
    lesion = disc(64, 64, 6)  # 12 mm
    liver = disc(64, 64, 30) & ~lesion

    def scan(value: float, around: float) -> np.ndarray:
        return np.where(lesion, value, np.where(liver, around, 0.0))

    images = {"truth": scan(8, 1), "hq": scan(8, 1), "input": scan(7, 2), "restored": scan(6, 1)}
    slices = Slices(load_task("pet"), "p", images, (2.0, 2.0))
    regions = Regions(
        (Region("tumour", lesion, liver, value=8.0),), (Region("liver", liver, ~liver),), (), False
    )
    rows = measure_regions(slices, regions, options)
    kinds = "truth", "hq", "input", "restored"
    for measure, region, expected in (
        ("organ_error", "liver", (0, 0, 1, 0)),
        ("lesion_error", "tumour", (0, 0, 1, 2)),
        ("lesion_contrast", "tumour", (7, 7, 5, 5)),
        ("lesion_recovery", "tumour", (1, 1, 5 / 7, 5 / 7)),
        ("suv_max", "tumour", (8, 8, 7, 6)),
        ("suv_mean_recovery", "tumour", (1, 1, 7 / 8, 6 / 8)),
        ("suv_peak_recovery", "tumour", (1, 1, 7 / 8, 6 / 8)),
    ):
        found = of(rows, measure, region)
        assert found == pytest.approx(dict(zip(kinds, expected, strict=True))), measure


def test_noise_of_flat_organs_alone(options: Options) -> None:
    liver, bowel = disc(64, 40, 30), disc(64, 100, 24)
    truth = 50 + np.where(bowel, 20 * ndimage.gaussian_filter(noise(9, 3), (0, 1, 1)), 0)
    images = {"truth": truth, "hq": truth + noise(0, 4), "input": truth + noise(1, 8)}
    images["restored"] = truth + noise(2, 2)
    slices = Slices(load_task("ct"), "p", images, (0.8, 0.8))
    flat = Region("liver", liver, ~liver), Region("bowel", bowel, ~bowel)
    rows, spectra = measure_noise(slices, Regions((), (), flat, marked=False), options)
    assert {row.region for row in rows} == {"liver"}  # the bowel has texture
    expected = {"hq": 4, "input": 8, "restored": 2}
    assert of(rows, "noise_sd", "liver") == pytest.approx(expected, rel=0.1)
    assert of(rows, "noise_correlation", "liver")["restored"] == pytest.approx(0, abs=0.1)
    for name, power in spectra:  # that of white noise
        assert power.mean() == pytest.approx(expected[name] ** 2 * 0.64, rel=0.2)


def test_sharpness_of_borders_that_are_one_step(options: Options) -> None:
    liver, stomach = disc(40, 40, 28), disc(90, 90, 28)
    truth = np.where(liver, 60.0, -100.0)
    truth[:, :, 90:] += 300  # beside one half of the stomach
    truth[stomach] = 40
    images = {"truth": truth}
    for name, blur in (("hq", 1.0), ("input", 1.5), ("restored", 1.25)):
        images[name] = ndimage.gaussian_filter(truth, (0, blur, blur))
    slices = Slices(load_task("ct"), "p", images, (0.8, 0.8))
    organs = Region("liver", liver, ~liver & ~stomach), Region("stomach", stomach, ~stomach)
    rows = measure_edges(slices, Regions((), organs, (), marked=False), options)
    assert {row.region for row in rows} == {"liver"}
    widths, halves = of(rows, "edge_width", "liver"), of(rows, "mtf50", "liver")
    for name, blur in (("hq", 1.0), ("input", 1.5), ("restored", 1.25)):
        assert widths[name] == pytest.approx(2.563 * blur * 0.8, rel=0.05)
        assert halves[name] == pytest.approx(0.1874 / (blur * 0.8), rel=0.05)
