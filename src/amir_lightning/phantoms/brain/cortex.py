"""Folded cortex: gyri and sulci as level sets of band-passed noise on the surface of the brain.

A band-passed random field has winding zero lines at a nearly constant distance from each other,
like the labyrinth of the sulci. For each point, the field is read nearer to the surface, on the ray
from the core of the hemisphere through the point. Each zero line therefore becomes a sheet that
dives into the brain. Its depth is another random field. Width and depth of the folds were set by
eye; the cortex is about 2.5 mm thick (Fischl and Dale, PNAS 97:11050, 2000).
"""

import numpy as np

from amir_lightning.phantoms.brain.head import Head
from amir_lightning.phantoms.fields import (
    Array,
    Points,
    capsule,
    ellipsoid,
    interpolate,
    paint,
    smooth_min,
    warp,
)

WAVELENGTH = 20.0  # two gyri [mm]
DEPTH, DEPTH_SPREAD, SHALLOW, DEEP = 19.0, 4.0, 9.0, 28.0  # of the sulci [mm]
RIBBON = 2.6  # thickness of the cortex [mm]

_STEP = 2.5  # of the lattice that holds the folds [mm]
_LATTICE = (64, 80, 64)  # the surface of both hemispheres, read around its middle
_MIDDLE = (12.0, 0.0, 0.0)  # of the hemispheres (z, y, x) [mm]
_CORE = (16.0, 50.0, 31.0)  # half size of a hemisphere's core along z and y, and its x [mm]
_RADIUS = 34.0  # from the core to the surface [mm]
_UPRIGHT = np.float32(0.75)  # folds are longer along z, so that axial slices cross most of them
_FOLLOW = 0.55  # 1: sheets run straight along the rays; 0: the field itself, without regard to rays


def cerebrum(head: Head) -> Array:
    """Paint CSF, cortex and white matter of both hemispheres.

    Returns:
        Share of white matter in each voxel, where lesions may grow.
    """
    middle = np.abs(head.points[2] - 1.2 * head.noise(30.0))
    below = np.clip(-ellipsoid(head.points, (2, -10, 0), (30, 41, 40)), 0, None)
    fissure = np.sqrt(middle**2 + below**2)  # ends above the corpus callosum and the deep nuclei
    medial = np.sqrt(middle**2 + (4 * below) ** 2)
    depth = -head.hull

    bent = warp(head.rng, head.grid, 2.0, 12.0)
    z, y, x = (p + b - g for p, b, g in zip(head.points, bent, head.grid.points, strict=True))
    folds = _sulci(head, (z, y, x), smooth_min(np.float32(1.5) * medial + np.float32(6), depth, 4))
    folds = np.minimum(folds, _sylvian_fissure((z, y, np.abs(x))))
    width = 0.6 * head.atrophy + 0.25 * head.noise(12.0) + 0.35 * np.clip(1 - depth / 10, 0, 1)
    width = np.clip(width - 0.5 * (fissure < 12), 0, None)  # medial sulci are narrow

    dry = 1 - head.sheet(folds, width)
    gap = np.clip(0.3 + 0.6 * head.atrophy + 0.4 * head.noise(10.0), 0, None)
    dry *= 1 - head.sheet(fissure, gap)
    pia = np.minimum(folds - width, np.sqrt(middle**2 + (2 * below) ** 2) - 0.8)
    pia = np.minimum(pia, depth)
    ribbon = RIBBON + 0.35 * head.noise(9.0) - 0.4 * head.atrophy
    grey = head.share(pia - ribbon, 0.5)
    white_value = head.signals["white"] * (1 + 0.03 * head.noise(12.0))
    grey_value = head.signals["grey"] * (1 + 0.03 * head.noise(7.0))
    brain = white_value + grey * (grey_value - white_value)
    inside = head.share(head.hull)
    white = (1 - grey) * dry * inside
    paint(head.image, inside, head.signals["csf"] + dry * (brain - head.signals["csf"]))
    head.masks.organ(inside, "csf")
    head.masks.organ(inside * dry, "grey matter")
    head.masks.organ(white, "white matter")
    falx = head.sheet(middle, 0.3) * (below == 0) * np.clip(2.5 - depth / 12, 0, 0.8) * (depth > 0)
    head.paint(falx, "bone")
    return white


def _sulci(head: Head, points: Points, depth: Array) -> Array:
    """Unsigned distance to the sheets of the sulci; the depth counts from any free surface [mm]."""
    z, y, x = (p - np.float32(c) for p, c in zip(points, _MIDDLE, strict=True))
    core_z, core_y = np.clip(z, -_CORE[0], _CORE[0]), np.clip(y, -_CORE[1], _CORE[1])
    ray = (z - core_z, y - core_y, x - np.copysign(np.float32(_CORE[2]), x))
    reach = np.float32(_RADIUS) / (np.sqrt(sum(r * r for r in ray)) + 1)
    pull = np.float32(_FOLLOW) * (reach - 1)
    surface = (_UPRIGHT * (z + ray[0] * pull), y + ray[1] * pull, x + ray[2] * pull)
    across = interpolate(_folds(head.rng), _STEP, surface) / np.clip(1 + pull, 0.7, 2.5)
    bottom = np.clip(DEPTH + DEPTH_SPREAD * head.noise(17.0), SHALLOW, DEEP)
    return np.sqrt(across**2 + np.clip(depth - bottom, 0, None) ** 2)


def _folds(rng: np.random.Generator) -> Array:
    """Signed distance to the zero set of a band-passed field, similar on both sides [mm]."""
    frequencies = [np.fft.fftfreq(n, _STEP) for n in _LATTICE[:2]]
    frequencies.append(np.fft.rfftfreq(_LATTICE[2], _STEP))
    fz, fy, fx = np.meshgrid(*frequencies, indexing="ij")
    radius = np.sqrt(fz**2 + fy**2 + fx**2) * WAVELENGTH
    band = np.exp(-(((radius - 1) / 0.22) ** 2) / 2)
    noise = rng.standard_normal(_LATTICE)
    field = 0.7 * (noise + noise[:, :, ::-1]) + 0.6 * rng.standard_normal(_LATTICE)
    for _ in range(4):  # saturation and band-pass in turn: stripes of one height, hardly a saddle
        field = np.fft.irfftn(np.fft.rfftn(field) * band, s=_LATTICE, axes=(0, 1, 2))
        field = np.tanh(1.5 * field / field.std())
    field = np.fft.irfftn(np.fft.rfftn(field) * band, s=_LATTICE, axes=(0, 1, 2))
    slope = np.sqrt(sum(g**2 for g in np.gradient(field, _STEP)))
    return (field / np.sqrt(slope**2 + (0.25 * slope.mean()) ** 2)).astype(np.float32)


def _sylvian_fissure(points: Points) -> Array:
    """Unsigned distance to the fissure around the insula and to its stem below [mm]."""
    z, y, x = points
    flat = (np.clip(np.abs(z - 3) - 13, 0, None), y - 0.45 * (z - 3), x)
    front = capsule(flat, [(0, -24, 72), (0, -14, 58), (0, -12, 43)], 0.0)
    insula = capsule(flat, [(0, -36, 38), (0, -22, 41), (0, -8, 42), (0, 12, 40)], 0.0)
    behind = capsule(flat, [(0, 0, 42), (0, 8, 56), (0, 10, 70)], 0.0)
    low = (np.clip(np.abs(z + 18) - 8, 0, None), y, x)
    stem = capsule(low, [(0, -17, 8), (0, -20, 34), (0, -30, 52), (0, -34, 70)], 0.0)
    return np.minimum(np.minimum(front, behind), np.minimum(insula, stem))
