"""Bias and variance of an estimator whose bias and variance are known."""

import numpy as np
import pytest

from amir_lightning.errors import InputError
from amir_lightning.metrics.clinical.structures import split_error


def test_bias_and_variance_come_apart() -> None:
    """An estimator that shrinks towards its mean: bias and noise are chosen."""
    rng = np.random.default_rng(0)
    truth = 100 + 10 * rng.standard_normal((64, 64))
    bias = np.where(np.arange(64) < 32, 5.0, 0.0) * np.ones((64, 1))
    draws = truth + bias + 8 * rng.standard_normal((20, 64, 64))
    found = split_error(draws, truth)
    left, right = bias > 0, bias == 0
    assert found.rms_bias(left) == pytest.approx(5, rel=0.05)
    assert found.rms_bias(right) == pytest.approx(0, abs=0.6)  # not 8 / sqrt(20) = 1.8
    assert found.rms_deviation(left) == pytest.approx(8, rel=0.03)
    assert found.rms_deviation(right) == pytest.approx(8, rel=0.03)
    error = ((draws - truth) ** 2).mean()
    whole = np.ones_like(left)
    both = found.rms_bias(whole) ** 2 + found.rms_deviation(whole) ** 2
    assert both == pytest.approx(error, rel=0.02)


def test_a_structure_that_is_always_invented_is_bias() -> None:
    truth = np.zeros((16, 16))
    draws = np.zeros((4, 16, 16))
    draws[:, 5, 5] = 3.0
    found = split_error(draws, truth)
    assert found.bias[5, 5] == 3
    assert found.deviation.max() == 0


def test_one_draw_is_too_few() -> None:
    with pytest.raises(InputError, match="there is 1 noise draw, expected at least 2"):
        split_error(np.zeros((1, 4, 4)), np.zeros((4, 4)))
