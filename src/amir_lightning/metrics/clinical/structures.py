"""What repeated noise draws of one patient tell: bias and variance of an image, apart."""

from typing import NamedTuple

import numpy as np

from amir_lightning.errors import InputError
from amir_lightning.metrics.clinical import Image, Mask


class Split(NamedTuple):
    """Error of an estimator of the truth, split into two maps.

    Attributes:
        bias: Mean of the draws minus the truth, (...): structures that are missing or invented
            whatever the noise [units].
        deviation: Standard deviation over the draws, (...): what the noise of the input decides
            [units].
        draws: Number of draws.
    """

    bias: Image
    deviation: Image
    draws: int

    def rms_bias(self, region: Mask) -> float:
        """Root mean square of the bias over a region, without the part that few draws add."""
        own, noise = self.bias[region], self.deviation[region]
        return float(np.sqrt(max(0.0, (own**2).mean() - (noise**2).mean() / self.draws)))

    def rms_deviation(self, region: Mask) -> float:
        """Root mean square of the standard deviation over a region."""
        return float(np.sqrt((self.deviation[region] ** 2).mean()))


def split_error(draws: Image, truth: Image) -> Split:
    """Split the error of images of one patient that differ in their noise only.

    Args:
        draws: Images, (D, ...).
        truth: What they should show, (...).

    Raises:
        InputError: There are fewer than two draws.
    """
    if len(draws) < 2:
        raise InputError(
            f"there is {len(draws)} noise draw, expected at least 2; type measures.draws.count=8"
        )
    draws = draws.astype(np.float64)
    return Split(draws.mean(axis=0) - truth, draws.std(axis=0, ddof=1), len(draws))
