"""T2-weighted brains: procedural heads with folded cortex, ventricles, deep nuclei and lesions."""

from dataclasses import dataclass

import numpy as np

from amir_lightning.errors import InputError
from amir_lightning.io.volume import Volume, lps_affine
from amir_lightning.phantoms import check_size
from amir_lightning.phantoms.brain.cortex import cerebrum
from amir_lightning.phantoms.brain.deep import cerebellum, deep_brain, ventricles
from amir_lightning.phantoms.brain.head import Head, orbits, skull
from amir_lightning.phantoms.brain.t2_signal import drawn_signals
from amir_lightning.phantoms.fields import Array, Grid, ellipsoid, rotation

FIELD_MM = (84.0, 240.0, 240.0)  # z, y, x: from the midbrain to the centrum semiovale
FLUID = 1300.0  # signal above which tissue has no texture of its own [a.u.]
SLAB_CENTRE = 20.0  # above the plane of the commissures [mm]


@dataclass(frozen=True)
class Brain:
    """T2-weighted heads of 240 mm field of view.

    Attributes:
        size: Pixels per transaxial side.
        num_slices: Axial slices of a patient over the central 84 mm.
        slice_mm: Thickness of the slices, over which edges are blurred [mm].
        contrast_spread: By how much the signal of each tissue differs between patients: standard
            deviation of its logarithm.

    Raises:
        InputError: The volume is too small, see `check_size`, or the spread is negative.
    """

    size: int = 256
    num_slices: int = 100
    slice_mm: float = 3.0
    contrast_spread: float = 0.0

    def __post_init__(self) -> None:
        check_size("brain", self.size, self.num_slices)
        spread = self.contrast_spread
        if not isinstance(spread, int | float) or not 0 <= spread < np.inf:
            raise InputError(
                f"contrast_spread is {spread}, expected a number of at least 0; type for instance "
                "+tasks.<task>.phantom.contrast_spread=0.15"
            )

    def sample(self, seed: int) -> Volume:
        """Draw the patient with this seed, with labels; values are in a.u."""
        grid = Grid.over(FIELD_MM, self.size, self.num_slices)
        signals = drawn_signals(self.contrast_spread, seed)
        head = Head(np.random.default_rng(seed), grid, SLAB_CENTRE, self.slice_mm, signals)
        skull(head)
        white = cerebrum(head)
        _lesions(head, white)
        cerebellum(head)
        deep_brain(head)
        orbits(head)
        _texture(head)
        gain = np.float32(head.rng.uniform(0.85, 1.15))
        return Volume(
            _receive(head, gain),
            lps_affine(grid.spacing_mm),
            "a.u.",
            f"phantom brain seed {seed}",
            head.masks.labels(float(gain)),
        )


def _lesions(head: Head, white: Array) -> None:
    """Paint bright spots of the ageing white matter and, in some, a tumour or an infarct."""
    rng = head.rng
    rim = ventricles(head)
    caps = np.clip(1 - rim / (1.5 + 4 * head.atrophy), 0, 1)
    caps = white * caps * np.float32(0.2 + 0.5 * head.atrophy)
    head.paint(caps, "gliosis", organ="white matter")
    for _ in range(rng.poisson(1 + 14 * head.atrophy**2)):
        side = rng.choice((-1, 1))
        centre = (rng.uniform(14, 42), rng.uniform(-48, 52), side * rng.uniform(18, 36))
        radii = rng.uniform(1, 2.8) * rng.uniform(0.7, 1.5, 3)
        spot = ellipsoid(head.points, centre, tuple(radii), rotation(rng.uniform(0, 180)))
        share, strength = white * head.share(spot, 0.7), rng.uniform(0.5, 1)
        head.paint_lesion(share, "gliosis", "gliosis", strength=strength)
    kind = rng.choice(("none", "tumour", "infarct"), p=(0.55, 0.25, 0.2))
    side = rng.choice((-1, 1))
    centre = (rng.uniform(5, 40), rng.uniform(-50, 50), side * rng.uniform(26, 42))
    size = rng.uniform(7, 14)
    lump = ellipsoid(head.points, centre, (size, size * 1.2, size)) + 2.2 * head.noise(9.0)
    tissue = 1 + 0.12 * head.noise(3.0)
    if kind == "tumour":
        fingers = np.clip(1 - (lump - 3 + 3 * head.noise(7.0)) / 9, 0, 1)
        head.paint_lesion(white * fingers, "oedema", "oedema", 1 + 0.04 * head.noise(6.0))
        head.paint_lesion(head.share(lump + 1, 0.8), "tumour", "tumour", tissue)
        core = head.share(lump + 0.6 * np.float32(size) + 1.5 * head.noise(5.0), 0.8)
        head.paint_lesion(core, "necrosis", "csf")
    elif kind == "infarct":
        head.paint_lesion(head.share(lump + 2, 1.0), "infarct", "oedema", tissue, strength=0.85)


def _texture(head: Head) -> None:
    """Vary the signal of solid tissue by a tenth within millimetres; fluids stay even."""
    solid = np.clip((FLUID - head.image) / np.float32(500), 0, 1)
    head.image *= 1 + np.float32(0.1) * solid * head.grain


def _receive(head: Head, gain: np.float32) -> Array:
    """Image with the gain of the scan and the smooth sensitivity of the coil (+-12 %)."""
    bias = np.clip(head.noise((70, 90, 90)), -1.2, 1.2)
    return np.clip(head.image * gain * (1 + 0.1 * bias), 0, 4095).astype(np.float32)
