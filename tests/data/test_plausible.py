import dataclasses

import numpy as np
import pytest

from amir_lightning.data.plausible import check_units
from amir_lightning.errors import InputError
from amir_lightning.tasks import load_task

MRI, CT, PET = (load_task(name) for name in ("mri", "ct", "pet"))
RNG = np.random.default_rng(0)
BODY = np.where(RNG.uniform(size=(4, 64, 64)) < 0.5, -1000.0, RNG.normal(40, 20, (4, 64, 64)))
UPTAKE = np.where(RNG.uniform(size=(4, 64, 64)) < 0.5, 0.0, RNG.gamma(2, 2, (4, 64, 64)))
BRAIN = np.where(RNG.uniform(size=(4, 64, 64)) < 0.5, 5.0, RNG.uniform(100, 1200, (4, 64, 64)))


@pytest.mark.parametrize(
    ("task", "images"),
    [
        (CT, BODY),
        (CT, np.where(BODY < -900, -3024.0, BODY)),  # padding outside the circle
        (CT, np.where(BODY < -900, -1000.0, 0.0)),  # a water phantom
        (PET, UPTAKE),
        (MRI, BRAIN),
    ],
)
def test_scans_in_their_units_pass(task: object, images: np.ndarray) -> None:
    check_units(images, task, "scan")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "images"),
    [
        (CT, (BODY + 1024) / 4095),  # [0, 1]
        (CT, BODY + 1024),  # stored values without the intercept
        (CT, UPTAKE),
        (PET, UPTAKE * 5000),  # Bq/mL
        (PET, UPTAKE / UPTAKE.max()),  # [0, 1], with its hottest pixel at 1
        (PET, BODY),
        (MRI, BRAIN / BRAIN.max()),
        (MRI, BRAIN * 20),
        (MRI, BODY),
    ],
)
def test_other_units_are_found_by_their_range(task: object, images: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"^scan has values from .* type force_units=true"):
        check_units(images, task, "scan")  # type: ignore[arg-type]


def test_a_task_may_take_anything() -> None:
    check_units(BODY, dataclasses.replace(PET, plausible=None), "scan")
