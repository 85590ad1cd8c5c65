"""What the three phantoms share: lazy names, sizes, and the frame of a patient."""

import numpy as np
import pytest

from amir_lightning import phantoms
from amir_lightning.errors import InputError
from amir_lightning.phantoms.fields import Grid
from amir_lightning.phantoms.frame import Frame


@pytest.mark.parametrize("name", ["Abdomen", "Body", "Brain"])
@pytest.mark.parametrize(("size", "num_slices"), [(8, 8), (64, 0)])
def test_too_small_is_refused(name: str, size: int, num_slices: int) -> None:
    with pytest.raises(InputError, match=f"phantom {name.lower()} has size={size}"):
        getattr(phantoms, name)(size, num_slices)


def test_an_unknown_phantom_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Knee"):
        phantoms.Knee  # noqa: B018


def test_a_frame_places_and_scales_the_standard_patient() -> None:
    grid = Grid.over((40.0, 60.0, 60.0), size=30, num_slices=20)
    frame = Frame(grid, scale=(1.0, 0.5, 2.0), origin=(4.0, -3.0, 8.0), margin_mm=2.0)
    bent = frame.bent(np.random.default_rng(0), 0.0, 20.0)
    for axis, (straight, dense) in enumerate(zip(frame.straight, bent, strict=True)):
        position = straight * frame.scale[axis] + frame.origin[axis]
        np.testing.assert_allclose(position, grid.points[axis], atol=1e-5)
        np.testing.assert_allclose(dense, np.broadcast_to(straight, grid.shape), atol=1e-5)
    low, high = (-3, -6, -4), (2, 8, 5)
    window = frame.window(low, high)
    for part, straight, a, b in zip(window, frame.straight, low, high, strict=True):
        between = np.flatnonzero((straight.ravel() >= a) & (straight.ravel() <= b))
        assert part.start <= between[0]
        assert between[-1] < part.stop
