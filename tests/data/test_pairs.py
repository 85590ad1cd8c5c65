import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from amir_lightning.data.pairs import (
    RawScan,
    cut_slices,
    informative_rows,
    make_pairs,
    patient_seed,
)
from amir_lightning.errors import InputError
from amir_lightning.io.volume import Volume, lps_affine
from amir_lightning.tasks import Plane, Task, load_task

SPACING = (3.0, 0.5, 0.75)


class Noise:
    """Degradation that adds seeded noise and records its arguments."""

    seen: tuple[tuple[int, ...], tuple[float, float, float], float]

    def degrade(self, hq: Tensor, spacing_mm: tuple[float, float, float], seed: int) -> Tensor:
        self.seen = (tuple(hq.shape), spacing_mm, float(hq.min()))
        return hq + torch.randn(hq.shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def volume() -> Volume:
    array = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    affine = lps_affine(SPACING)
    affine[:3, 3] = [7, 8, 9]
    return Volume(array, affine, "a.u.", "test")


def task_on(plane: Plane) -> Task:
    return dataclasses.replace(load_task("mri"), plane=plane)


@pytest.mark.parametrize(
    ("plane", "shape", "spacing"),
    [
        ("axial", (4, 5, 6), (3.0, 0.5, 0.75)),
        ("coronal", (5, 6, 4), (0.5, 0.75, 3.0)),
        ("sagittal", (6, 5, 4), (0.75, 0.5, 3.0)),
    ],
)
def test_cut_keeps_every_voxel_at_its_place(
    volume: Volume, plane: Plane, shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    pairs = cut_slices(-volume.array, volume.array, volume.affine, plane)
    assert pairs.hq.shape == shape
    assert pairs.spacing_mm == pytest.approx(spacing)
    np.testing.assert_array_equal(pairs.lq, -pairs.hq)
    by_place = {}
    for z, y, x in np.ndindex(volume.array.shape):
        by_place[tuple((volume.affine @ [x, y, z, 1]).round(4))] = volume.array[z, y, x]
    for row, height, width in np.ndindex(shape):
        place = pairs.affine @ [width, height, pairs.slice_index[row], 1]
        assert pairs.hq[row, height, width] == by_place[tuple(place.round(4))]


def test_coronal_slices_are_left_right_by_feet_head(volume: Volume) -> None:
    pairs = cut_slices(volume.array, volume.array, volume.affine, "coronal")
    np.testing.assert_array_equal(pairs.hq[2], volume.array[:, 2, :].T)


def test_lq_is_simulated_on_the_whole_volume_before_cutting(volume: Volume) -> None:
    noise = Noise()
    pairs = make_pairs(RawScan(volume), task_on("coronal"), noise, seed=3, central_slices=3)
    assert noise.seen[:2] == ((4, 5, 6), pytest.approx(SPACING))
    assert pairs.slice_index.tolist() == [1, 2, 3]
    expected = noise.degrade(torch.from_numpy(volume.array), SPACING, 3).numpy()
    np.testing.assert_array_equal(pairs.lq, expected.transpose(1, 2, 0)[1:4])
    again = make_pairs(RawScan(volume), task_on("coronal"), Noise(), seed=3, central_slices=3)
    np.testing.assert_array_equal(pairs.lq, again.lq)


def test_axial_slices_that_are_not_wanted_are_not_simulated(volume: Volume) -> None:
    noise = Noise()
    pairs = make_pairs(RawScan(volume), task_on("axial"), noise, seed=3, central_slices=2)
    assert noise.seen[0] == (2, 5, 6)
    assert pairs.slice_index.tolist() == [1, 2]
    np.testing.assert_array_equal(pairs.hq, volume.array[1:3])


def test_padding_is_raised_to_air_but_hot_spots_are_kept() -> None:
    array = np.array([[[-3024, -1000], [40, 9000]]], np.float32)
    noise = Noise()
    scan = RawScan(Volume(array, lps_affine(SPACING), "HU", "test"))
    pairs = make_pairs(scan, load_task("ct"), noise, seed=0, central_slices=None)
    assert pairs.hq.tolist() == [[[-1024, -1000], [40, 9000]]]
    assert noise.seen[2] == -1024


def test_a_measured_partner_is_used_as_it_is(volume: Volume) -> None:
    lq = dataclasses.replace(volume, array=volume.array + 1)
    pairs = make_pairs(RawScan(volume, lq), task_on("sagittal"), Noise(), 0, central_slices=4)
    np.testing.assert_array_equal(pairs.lq, pairs.hq + 1)
    assert pairs.slice_index.tolist() == [1, 2, 3, 4]


def test_partners_that_do_not_match_are_refused(volume: Volume) -> None:
    smaller = dataclasses.replace(volume, array=volume.array[1:])
    moved = dataclasses.replace(volume, affine=volume.affine + np.eye(4)[:, [3, 3, 3, 0]])
    for lq, reason in [(smaller, "same grid"), (moved, "different places")]:
        with pytest.raises(InputError, match=reason):
            make_pairs(RawScan(volume, lq), task_on("axial"), Noise(), 0, None)


def test_air_and_constant_slices_are_left_out() -> None:
    ct = load_task("ct")
    hq = np.full((5, 20, 20), -1000, np.float32)
    hq[1] = 500  # constant once clipped to the score range
    hq[2, :5] = 40  # tissue
    hq[3, 0, :3] = 40  # 3 of 400 pixels: a needle in air
    hq[4, 0, :4] = 40  # 1 %
    assert informative_rows(hq, ct).tolist() == [2, 4]
    # A display window that runs from high to low is read the same way.
    inverted = dataclasses.replace(ct, display_window=ct.display_window[::-1])
    assert informative_rows(hq, inverted).tolist() == [2, 4]


def test_noise_seeds_differ_between_patients_and_commands() -> None:
    seeds = {patient_seed(seed, patient) for seed in (0, 1) for patient in ("a", "b")}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert patient_seed(0, "a") == patient_seed(0, "a")
