"""The drawing kit: fields without resolution, distances, rotations and interpolation."""

import numpy as np
import pytest

from amir_lightning.phantoms.fields import (
    Grid,
    capsule,
    ellipsoid,
    interpolate,
    lattice_noise,
    place,
    rotation,
    smooth_max,
    smooth_min,
    soft_step,
)


def test_fields_have_unit_variance_and_no_resolution() -> None:
    coarse, fine = (Grid((4, n, n), (10.0, 240 / n, 240 / n)) for n in (60, 120))
    fields = [lattice_noise(np.random.default_rng(3), grid, 12.0, 2) for grid in (coarse, fine)]
    halved = fields[1].reshape(4, 60, 2, 60, 2).mean((2, 4))
    assert fields[1].std() == pytest.approx(1, abs=0.1)
    assert np.corrcoef(fields[0].ravel(), halved.ravel())[0, 1] > 0.999


def test_signed_distances() -> None:
    points = Grid((9, 41, 41), (5.0, 2.0, 2.0)).points
    z, y, x = points
    radius = np.sqrt(z**2 + y**2 + x**2)
    np.testing.assert_allclose(ellipsoid(points, (0, 0, 0), (20, 20, 20)), radius - 20, atol=1e-3)
    rod = capsule(points, [(0, 0, -10), (0, 0, 10)], 4.0)
    expected = np.sqrt(z**2 + y**2 + np.clip(np.abs(x) - 10, 0, None) ** 2) - 4
    np.testing.assert_allclose(rod, expected, atol=1e-3)
    both = smooth_min(rod, radius - 20, 2.0)
    assert (both <= np.minimum(rod, radius - 20) + 1e-5).all()
    shared = smooth_max(rod, radius - 20, 2.0)
    assert (shared >= np.maximum(rod, radius - 20) - 1e-5).all()
    assert soft_step(np.float32([-9, 0, 9]), 1.0).tolist() == [1, 0.5, 0]


def test_place_undoes_a_rotation() -> None:
    turn, node = rotation(30, -20, 10), np.array([3.0, -7.0, 11.0])
    moved = turn @ node + [1, 2, 3]
    points = tuple(np.float32(m).reshape(1, 1, 1) for m in moved)
    np.testing.assert_allclose(np.ravel(place(points, (1, 2, 3), turn)), node, atol=1e-5)
    np.testing.assert_allclose(rotation(90) @ [0, 0, 1], [0, 1, 0], atol=1e-12)


def test_interpolation_is_linear_and_constant_outside() -> None:
    lattice = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    grid = Grid((2, 3, 4), (2.0, 2.0, 2.0))
    np.testing.assert_allclose(interpolate(lattice, 2.0, grid.points), lattice)
    z, y, x = grid.points
    np.testing.assert_allclose(interpolate(lattice, 2.0, (z * 9, y, x)), lattice)
