"""Means over slices, patients and tasks."""

import math

import numpy as np
import pytest
import torch

from amir_lightning.errors import InputError
from amir_lightning.metrics import METRICS, SCORES, summarise
from amir_lightning.tasks import load_task

Row = dict[str, str | float]


def row(
    task: str = "ct",
    patient: str = "a",
    index: int = 0,
    psnr: float = 30.0,
    ssim: float = 0.9,
    rmse: float = 5.0,
) -> Row:
    case: Row = {"task": task, "patient": patient, "slice": index}
    scores: Row = {"psnr": psnr, "ssim": ssim, "rmse": rmse}
    return (
        case | scores | {"input_psnr": psnr - 3, "input_ssim": ssim - 0.1, "input_rmse": rmse + 2}
    )


def constant(patient: str = "a", index: int = 0, rmse: float = 5.0) -> Row:
    return row("ct", patient, index, math.nan, math.nan, rmse)


def test_a_task_means_over_slices_and_the_average_over_tasks() -> None:
    rows = [row(patient="a", psnr=psnr) for psnr in (20, 30, 40)]
    rows += [row(patient="b", psnr=50), row(task="pet", patient="c", psnr=10, rmse=1)]
    summary = summarise(rows)
    ct, pet = summary.tasks["ct"], summary.tasks["pet"]
    assert ct.means["psnr"] == 35  # 40 were the mean of the patients' means
    assert {name: patient.means["psnr"] for name, patient in ct.patients.items()} == {
        "a": 30,
        "b": 50,
    }
    assert [patient.num_slices for patient in ct.patients.values()] == [3, 1]
    assert (ct.num_slices, pet.num_slices) == (4, 1)
    assert summary.average["psnr"] == (35 + 10) / 2
    assert summary.average["rmse"] == (5 + 1) / 2
    assert ct.means["input_rmse"] == 7
    assert list(ct.means) == list(SCORES)


def test_the_mean_of_decibels_is_not_the_decibel_of_the_mean() -> None:
    hq = torch.linspace(0, 10, 64 * 64).view(1, 1, 64, 64).repeat(4, 1, 1, 1)
    noise = torch.tensor([0.1, 0.1, 0.1, 2.0]).view(4, 1, 1, 1)
    sign = torch.ones(64, 64).index_fill_(1, torch.arange(0, 64, 2), -1)
    restored = hq.clamp(3, 7) + noise * sign
    hq = hq.clamp(3, 7)
    scores = METRICS["paper"](restored, hq, load_task("pet"))
    rows = [row(psnr=psnr) for psnr in scores["psnr"].tolist()]
    expected = np.mean(20 * np.log10(4 / noise.flatten().double().numpy()))
    assert summarise(rows).tasks["ct"].means["psnr"] == pytest.approx(expected)
    pooled = 10 * np.log10(16 / np.mean(noise.numpy() ** 2))
    assert expected > pooled + 10


def test_constant_labels_are_counted_and_left_out_of_all_columns() -> None:
    rows = [row(psnr=30, rmse=4), constant(index=1, rmse=100), row(index=2, psnr=20, rmse=6)]
    rows.append(constant(patient="air"))
    task = summarise(rows, bootstrap=10).tasks["ct"]
    assert (task.num_slices, task.num_constant) == (2, 2)
    assert (task.means["psnr"], task.means["rmse"]) == (25, 5)
    assert task.patients["air"].means == dict.fromkeys(SCORES)
    assert (task.patients["air"].num_slices, task.patients["air"].num_constant) == (0, 1)
    assert task.intervals == {}  # one patient with scores says nothing about patients


def test_a_task_of_constant_labels_has_no_mean_and_no_nan() -> None:
    summary = summarise([constant(), constant(index=1), row(task="pet")])
    assert summary.tasks["ct"].means == dict.fromkeys(SCORES)
    assert summary.average == dict.fromkeys(SCORES)
    flat = summary.flat("test")
    assert set(flat) == {f"test/pet/{score}" for score in SCORES}


def test_keys_for_loggers() -> None:
    flat = summarise([row(), row(task="pet", psnr=20)]).flat("val")
    assert flat["val/ct/psnr"] == 30
    assert flat["val/pet/input_psnr"] == 17
    assert flat["val/avg/psnr"] == 25
    assert len(flat) == 3 * len(SCORES)


def test_numbers_may_be_text() -> None:
    rows = [row(), constant(index=1)]
    text = [{key: str(value) for key, value in entry.items()} for entry in rows]
    assert summarise(text) == summarise(rows)


def test_a_perfect_slice_makes_an_infinite_mean() -> None:
    rows = [row(patient=name, psnr=psnr) for name, psnr in {"a": math.inf, "b": 30}.items()]
    task = summarise(rows, bootstrap=200).tasks["ct"]
    assert task.means["psnr"] == math.inf
    assert task.intervals["psnr"] == (30, math.inf)


def test_the_interval_resamples_patients() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(30, 2, size=40)
    rows = [
        row(patient=str(patient), index=index, psnr=centre + rng.normal(0, 0.1))
        for patient, centre in enumerate(centres)
        for index in range(5)
    ]
    task = summarise(rows, bootstrap=2000).tasks["ct"]
    low, high = task.intervals["psnr"]
    assert low < task.means["psnr"] < high
    # The standard error of 40 patients, not that of 200 slices.
    assert high - low == pytest.approx(2 * 1.96 * centres.std() / np.sqrt(40), rel=0.1)
    assert task.intervals["ssim"] == pytest.approx((0.9, 0.9))


def test_the_interval_weighs_a_patient_by_its_slices() -> None:
    rows = [row(patient="a", psnr=10)] * 3 + [row(patient="b", psnr=50)]
    task = summarise(rows, bootstrap=200, confidence=0.999).tasks["ct"]
    assert task.intervals["psnr"] == (10, 50)
    narrow = summarise(rows, bootstrap=1000, confidence=0.1).tasks["ct"]
    assert narrow.intervals["psnr"] == (20, 20)


def test_the_interval_is_reproducible() -> None:
    rows = [row(patient=str(patient), psnr=20 + patient**1.5) for patient in range(9)]
    first, again = (summarise(rows, bootstrap=100, seed=3) for _ in range(2))
    assert first == again
    assert first != summarise(rows, bootstrap=100, seed=4)
    assert summarise(rows).tasks["ct"].intervals == {}


def test_mistakes_are_explained() -> None:
    with pytest.raises(InputError, match="no slices"):
        summarise([])
    with pytest.raises(InputError, match="lacks psnr, input_ssim"):
        summarise([{key: 0 for key in row() if key not in ("psnr", "input_ssim")}])
    with pytest.raises(InputError, match="task ct, patient a, slice 4 is nan: the restored image"):
        summarise([row(), constant(index=4, rmse=math.nan)])
    with pytest.raises(InputError, match=r"input_rmse .* the LQ input has NaN"):
        summarise([{**row(), "input_rmse": math.inf}])
