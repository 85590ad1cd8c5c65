"""Both definitions against independent versions written with numpy, scipy and scikit-image."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from amir_lightning.errors import InputError
from amir_lightning.metrics import METRICS, Definition, paper_scores, standard_scores
from amir_lightning.tasks import Task, known_tasks, load_task

Scorer = Callable[[ArrayLike, ArrayLike, str], dict[str, float]]


def blurred(image: np.ndarray) -> np.ndarray:
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    for axis in (0, 1):
        image = correlate1d(image, taps, axis=axis, mode="constant", cval=0.0)
    return image


def ssim_map(y: np.ndarray, x: np.ndarray, data_range: float) -> np.ndarray:
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mx, my = blurred(x), blurred(y)
    vx, vy = blurred(x * x) - mx**2, blurred(y * y) - my**2
    cov = blurred(x * y) - mx * my
    return ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))


def reference(restored: np.ndarray, hq: np.ndarray, task: Task) -> dict[str, float]:
    """The paper's scores, with the label as x and the restored slice as y."""
    y, x = (
        np.clip(np.clip(image, *task.value_range), *task.score_range) for image in (restored, hq)
    )
    data_range = x.max() - x.min()
    mse = np.mean((x - y) ** 2)
    return {
        "psnr": 10 * np.log10(data_range**2 / mse),
        "ssim": ssim_map(y, x, data_range).mean(),
        "rmse": np.sqrt(mse),
    }


def pair(
    task: str = "ct", shape: tuple[int, int] = (48, 61), seed: int = 0, spread: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """A smooth label that fills the score range, and the label with noise."""
    rng = np.random.default_rng(seed)
    low, high = load_task(task).score_range
    label = blurred(blurred(rng.standard_normal(shape)))
    label = (label - label.min()) / np.ptp(label)
    label = low + (high - low) * (0.5 + spread * (label - 0.5))
    return label + 0.05 * (high - low) * rng.standard_normal(shape), label


@pytest.mark.parametrize("spread", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("task", known_tasks())
def test_paper_definition(task: str, spread: float) -> None:
    restored, hq = pair(task, spread=spread)
    assert paper_scores(restored, hq, task) == pytest.approx(
        reference(restored, hq, load_task(task)), rel=1e-10
    )


@pytest.mark.parametrize("shape", [(1, 7), (4, 4), (11, 3), (30, 200)])
def test_paper_definition_on_slices_smaller_than_the_window(shape: tuple[int, ...]) -> None:
    restored, hq = pair("mri", shape)
    assert paper_scores(restored, hq, "mri") == pytest.approx(
        reference(restored, hq, load_task("mri")), rel=1e-10
    )


def test_inside_the_image_the_ssim_is_scikit_images() -> None:
    restored, hq = pair("ct")
    x, y = (np.clip(image, -160, 240) for image in (hq, restored))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    score, full = structural_similarity(x, y, data_range=400.0, full=True, **options)
    inside = (slice(5, -5), slice(5, -5))
    np.testing.assert_allclose(ssim_map(y, x, 400.0)[inside], full[inside], rtol=1e-10)
    # The windows that leave the image are what the definitions differ in.
    assert abs(ssim_map(y, x, 400.0).mean() - score) > 1e-3


@pytest.mark.parametrize("task", known_tasks())
def test_standard_definition_is_torchmetrics_with_the_width_of_the_score_range(task: str) -> None:
    restored, hq = pair(task, spread=0.4)
    low, high = load_task(task).score_range
    x, y = (torch.from_numpy(image.clip(low, high))[None, None] for image in (restored, hq))
    scores = standard_scores(restored, hq, task)
    psnr = peak_signal_noise_ratio(x, y, data_range=high - low)
    ssim = structural_similarity_index_measure(x, y, data_range=high - low)
    assert scores["psnr"] == pytest.approx(psnr.item(), rel=1e-6)
    assert scores["ssim"] == pytest.approx(ssim.item(), rel=1e-10)
    assert scores["rmse"] == paper_scores(restored, hq, task)["rmse"]


def test_scores_of_ct_depend_on_the_zero_of_the_scale() -> None:
    restored, hq = pair("ct")
    ct = load_task("ct")
    shifted = replace(ct, value_range=(-864.0, 3231.0), score_range=(0.0, 400.0))
    signed, unsigned = (
        paper_scores(restored, hq, ct),
        paper_scores(restored + 160, hq + 160, shifted),
    )
    assert unsigned["psnr"] == pytest.approx(signed["psnr"])
    assert unsigned["rmse"] == pytest.approx(signed["rmse"])
    assert unsigned["ssim"] - signed["ssim"] > 1e-3


@pytest.mark.parametrize("score", [paper_scores, standard_scores])
def test_values_outside_the_score_range_do_not_count(score: Scorer) -> None:
    restored, hq = pair("ct")
    hq[:8], restored[:8] = -1000, -700  # air: both below the window
    hq[-8:], restored[-8:] = 1500, 4000  # metal: both above it
    expected = score(restored.clip(-160, 240), hq.clip(-160, 240), "ct")
    assert score(restored, hq, "ct") == expected
    assert score(np.where(restored > 240, 5000, restored), hq, "ct") == expected


def test_the_value_range_clips_before_the_score_range() -> None:
    task = replace(load_task("pet"), value_range=(0.0, 5.0), score_range=(2.0, 20.0))
    hq, restored = np.tile([[0.0, 9.0]], (4, 4)), np.tile([[1.0, 5.0]], (4, 4))
    assert paper_scores(restored, hq, task)["rmse"] == 0
    assert paper_scores(np.full((4, 8), 5.0), hq, task)["rmse"] == pytest.approx(3 / np.sqrt(2))


@pytest.mark.parametrize("label", [-1000.0, 3000.0, 12.5])
def test_a_constant_label_has_an_rmse_alone(label: float) -> None:
    restored, _ = pair("ct")
    hq = np.full(restored.shape, label)
    for image in (restored, hq):
        scores = paper_scores(image, hq, "ct")
        assert np.isnan(scores["psnr"])
        assert np.isnan(scores["ssim"])
        clipped = image.clip(-160, 240) - hq.clip(-160, 240)
        assert scores["rmse"] == pytest.approx(np.sqrt(np.mean(clipped**2)))
    assert np.isfinite(list(standard_scores(restored, hq, "ct").values())).all()


@pytest.mark.parametrize("score", [paper_scores, standard_scores])
def test_a_perfect_restoration(score: Scorer) -> None:
    _, hq = pair("pet")
    scores = score(hq, hq, "pet")
    assert scores == {"psnr": np.inf, "ssim": pytest.approx(1), "rmse": 0}
    assert all(type(value) is float for value in scores.values())


def integers(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    restored, hq = pair("mri")
    return np.round(restored.clip(0, 250)).astype(dtype), np.round(hq.clip(0, 250)).astype(dtype)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", ">i2", "int64", "float16", "float32", ">f4", "longdouble"]
)
def test_any_number_type(dtype: str) -> None:
    restored, hq = integers(dtype)
    expected = paper_scores(restored.astype(np.float64), hq.astype(np.float64), "mri")
    assert paper_scores(restored, hq, "mri") == expected
    assert paper_scores(hq[::-1, ::2], restored[::-1, ::2], "mri") == paper_scores(
        hq[::-1, ::2].astype(float), restored[::-1, ::2].astype(float), "mri"
    )


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int32, torch.float16, torch.bfloat16, torch.float32]
)
def test_any_tensor(dtype: torch.dtype) -> None:
    arrays = integers("float64")
    restored, hq = (torch.from_numpy(array).to(dtype) for array in arrays)
    expected = paper_scores(*arrays, "mri")  # whole numbers up to 250 are exact in all these types
    if dtype.is_floating_point:
        restored.requires_grad_()
    assert paper_scores(restored, hq, "mri") == expected
    assert paper_scores(restored[None], hq[None, None], load_task("mri")) == expected


def test_lists_memory_maps_and_nifti_data(tmp_path: Path) -> None:
    restored, hq = integers("int16")
    expected = paper_scores(restored, hq, "mri")
    assert paper_scores(restored.tolist(), hq.tolist(), "mri") == expected
    np.save(tmp_path / "hq.npy", hq)
    mapped = np.load(tmp_path / "hq.npy", mmap_mode="r")
    assert paper_scores(restored, mapped, "mri") == expected
    nib.save(nib.Nifti1Image(restored, np.eye(4)), tmp_path / "restored.nii.gz")
    assert paper_scores(nib.load(tmp_path / "restored.nii.gz").dataobj, hq, "mri") == expected


def test_the_arrays_of_the_caller_stay_as_they_are() -> None:
    restored, hq = pair("ct", spread=3)
    before = restored.copy(), hq.copy()
    paper_scores(torch.from_numpy(restored), hq, "ct")
    np.testing.assert_array_equal((restored, hq), before)


@pytest.mark.parametrize(
    ("restored", "hq", "task", "message"),
    [
        (np.ones((4, 5)), np.ones((5, 4)), "ct", "4x5 pixels .* 5x4"),
        (np.ones((2, 4, 5)), np.ones((2, 4, 5)), "ct", r"restored slice has shape \(2, 4, 5\)"),
        (np.ones((4, 5, 1)), np.ones((4, 5)), "ct", r"pass one slice of shape \(H, W\)"),
        (np.ones(4), np.ones(4), "ct", r"shape \(4,\)"),
        (np.ones((0, 4)), np.ones((0, 4)), "ct", r"shape \(0, 4\)"),
        (np.ones((1, 1, 1, 4, 5)), np.ones((4, 5)), "ct", "pass one slice"),
        (np.array([[1, np.nan], [np.inf, 2]]), np.ones((2, 2)), "ct", "restored .* 2 NaN or inf"),
        (np.ones((2, 2)), torch.tensor([[1, -torch.inf], [1, 2]]), "ct", "HQ slice has 1 NaN"),
        (np.ones((2, 2)) * 1j, np.ones((2, 2)), "ct", "complex"),
        (torch.ones(2, 2) * 1j, np.ones((2, 2)), "ct", "complex"),
        ([["a", "b"]], np.ones((1, 2)), "ct", "not an array of real numbers"),
        ([[1, 2], [3]], np.ones((2, 2)), "ct", "not an array of real numbers"),
        (None, np.ones((2, 2)), "ct", "pass one slice"),
        (np.ones((2, 2)), np.ones((2, 2)), "CT", "unknown task 'CT'; choose from mri, ct, pet"),
    ],
)
@pytest.mark.parametrize("score", [paper_scores, standard_scores])
def test_a_mistake_is_explained(
    score: Scorer, restored: ArrayLike, hq: ArrayLike, task: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        score(restored, hq, task)


def test_the_standard_ssim_needs_pixels_to_mirror() -> None:
    with pytest.raises(InputError, match="5x12 pixels"):
        standard_scores(*pair("ct", (5, 12)), "ct")
    assert standard_scores(*pair("ct", (6, 12)), "ct")["ssim"] > 0


def test_a_batch_scores_like_its_slices() -> None:
    pairs = [pair("ct", seed=seed) for seed in range(3)]
    pairs.append((pairs[0][0], np.full_like(pairs[0][1], 40)))
    restored, hq = (torch.tensor(np.stack(side))[:, None] for side in zip(*pairs, strict=True))
    for name, score in {"paper": paper_scores, "standard": standard_scores}.items():
        with torch.autocast("cpu", torch.bfloat16):
            batch = METRICS[name](restored.requires_grad_(), hq, load_task("ct"))
        assert all(scores.shape == (4,) for scores in batch.values())
        assert all(scores.dtype == torch.float64 for scores in batch.values())
        assert not any(scores.requires_grad for scores in batch.values())
        for position, single in enumerate(pairs):
            row = {key: scores[position].item() for key, scores in batch.items()}
            assert row == pytest.approx(score(*single, "ct"), nan_ok=True, rel=1e-9)


@pytest.mark.parametrize("definition", METRICS.values())
def test_a_broken_slice_spoils_its_own_scores_alone(definition: Definition) -> None:
    restored, hq = (torch.tensor(image).repeat(3, 1, 1, 1) for image in pair("ct"))
    restored[1, 0, 3, 3] = torch.inf  # clipping alone would make it a valid pixel
    for scores in definition(restored, hq, load_task("ct")).values():
        assert scores.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 2, 4, 4), (3, 1, 4, 4)])
def test_a_batch_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="equal shapes"):
        METRICS["paper"](torch.ones(shape), torch.ones(2, 1, 4, 4), load_task("ct"))


def test_the_papers_scores_need_torch_alone() -> None:
    code = (
        "import sys\n"
        "from amir_lightning.metrics import paper_scores\n"
        "paper_scores([[0.0] * 11] * 11, [[9.0] * 11] * 11, 'pet')\n"
        "assert not {'torchmetrics', 'lightning'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
