"""The head around the brain: one patient on one grid, the layers of the skull, the orbits."""

import numpy as np

from amir_lightning.phantoms.brain.t2_signal import Signals
from amir_lightning.phantoms.fields import (
    Array,
    Floats,
    Grid,
    Points,
    Triple,
    capsule,
    ellipsoid,
    lattice_noise,
    paint,
    place,
    rotation,
    smooth_max,
    soft_step,
    warp,
)
from amir_lightning.phantoms.masks import Masks

ORGANS = ("air", "skin", "fat", "muscle", "bone", "marrow", "csf", "ventricles", "plexus",
          "grey matter", "white matter", "striatum", "thalamus", "pallidum", "brain stem",
          "vessels", "vitreous")  # fmt: skip
_ORGAN_OF = {"grey": "grey matter", "white": "white matter", "flow": "vessels"}  # else the tissue


class Head:
    """A patient's image and the coordinates of the standard head in it.

    The standard head has its origin in the middle of the brain, in the plane of the commissures.
    Size, shape, pose and age differ from patient to patient.

    Attributes:
        image: What has been painted so far (Z, Y, X) [a.u.].
        signals: Signal of each tissue in this patient's scan [a.u.].
        masks: Organs and lesions that have been painted so far.
        points: Positions in the standard head (z, y, x) [mm].
        mirrored: The same with |x|, for what both sides have [mm].
        hull: Signed distance to the surface of the brain without its folds [mm].
        grain: Fine texture of solid tissue, unit variance.
        fat: Brightness of the fat, which differs with the protocol.
        atrophy: From 0, young, to 1: wide sulci and ventricles.
        ventricles_mm: Added to the radii of the ventricles [mm].
    """

    def __init__(
        self,
        rng: np.random.Generator,
        grid: Grid,
        centre_mm: float,
        slice_mm: float,
        signals: Signals,
    ) -> None:
        self.rng, self.grid, self.signals = rng, grid, signals
        self.image = np.zeros(grid.shape, np.float32)
        self.masks = Masks(grid.shape, ORGANS)
        self.atrophy = float(rng.beta(1.3, 2.5))
        self.ventricles_mm = float(np.clip(rng.normal(-0.7, 0.7) + 3.2 * self.atrophy, -1, 3.5))
        z, y, x = rng.normal((-centre_mm, 0, 0), (2, 3, 3))
        turn = rotation(*rng.normal(0, (3.0, 2.0, 3.0)))
        scale = rng.normal(1, 0.03) * rng.normal(1, (0.015, 0.025, 0.03))
        placed = place(warp(rng, grid, 1.5, 60.0), (z, y, x), turn)
        z, y, x = (p / np.float32(s) for p, s in zip(placed, scale, strict=True))
        self.points: Points = (z, y, x)
        self.mirrored: Points = (z, y, np.abs(x))
        wider_behind = (z, y, x / (1 + y * np.float32(0.0011)))
        self.grain = self.noise((4.0, 1.3, 1.3))
        self.fat = np.float32(rng.uniform(0.4, 0.95))
        self._softness = max(0.5 * grid.spacing_mm[2], 0.35) + self._askew(slice_mm)
        self.hull = ellipsoid(wider_behind, (4, 0, 0), (71, 85, 67), exponent=2.2)

    def _askew(self, slice_mm: float) -> Array:
        """Half width of the blur of edges that do not stand upright in a slice [mm].

        A surface whose normal has the share n along z is blurred by the thickness times
        n / sqrt(1 - n^2). For surfaces of all directions n is uniform from 0 to 1. Here n is a
        smooth random field: slices are drawn one by one, and their neighbours are not known.
        """
        share = np.clip(0.35 + 0.3 * self.noise(6.0), 0, 0.85)
        return np.float32(0.5 * slice_mm) * share / np.sqrt(1 - share**2)

    def noise(self, scale_mm: float | Triple) -> Array:
        """A smooth random field of unit variance on the patient's grid."""
        return lattice_noise(self.rng, self.grid, scale_mm)

    def share(self, distance: Floats, blur_mm: float = 0.0) -> Array:
        """Share of each voxel inside a signed distance; a tissue border may be blurred further."""
        return soft_step(np.asarray(distance, np.float32), self._softness + np.float32(blur_mm))

    def sheet(self, distance: Floats, width: Floats | float) -> Array:
        """Share of a sheet of half width `width` [mm], also where it is thinner than a voxel."""
        return self.share(distance - width) - self.share(distance + width)

    def paint(
        self, share: Floats, tissue: str, texture: Floats | float = 1.0, organ: str | None = None
    ) -> None:
        """Lay a tissue over the image; it is its own organ unless another one is named."""
        self._lay(share, tissue, texture)
        self.masks.organ(share, organ or _ORGAN_OF.get(tissue, tissue))

    def paint_lesion(
        self,
        share: Floats,
        kind: str,
        tissue: str,
        texture: Floats | float = 1.0,
        strength: float = 1.0,
    ) -> None:
        """Lay a lesion over the image, by a `strength` below 1 with white matter in between."""
        self._lay(share * np.float32(strength), tissue, texture)
        value = strength * self.signals[tissue] + (1 - strength) * self.signals["white"]
        self.masks.lesion(share, kind, float(value))

    def _lay(self, share: Floats, tissue: str, texture: Floats | float) -> None:
        value = np.asarray(self.signals[tissue] * texture, np.float32)
        paint(self.image, np.asarray(share, np.float32), value)


def skull(head: Head) -> None:
    """Paint skin, fat, temporal muscle, bone with marrow between its tables, and CSF inside."""
    z, y, x = head.mirrored
    hull = head.hull
    front, back = np.clip(-y / 85, 0, 1) ** 3, np.clip(y / 85, 0, 1) ** 3
    inner = 0.5 + 1.6 * head.atrophy * (0.5 + front) + 0.5 * head.noise(14.0)
    inner = np.clip(inner, 0, None)
    outer = inner + 5.4 + 2.5 * front + 1.5 * back + 0.6 * head.noise(24.0)
    fat = outer + 3.6 + 2.5 * back + 0.5 * head.noise(30.0)
    temporal = np.exp(-(((y + 26) / 30) ** 2)) * np.clip((22 - z) / 30, 0, 1)
    temporal *= np.clip((x - 25) / 20, 0, 1)
    fat = fat + 4 * temporal
    head.paint(head.share(hull - fat - 1.6), "skin")
    head.paint(head.share(hull - fat), "fat", head.fat * (1 + 0.1 * head.noise(5.0)))
    muscle = head.share(hull - fat + 2) * np.clip(4 * temporal - 0.8, 0, 1)
    head.paint(muscle, "muscle", 1 + 0.25 * head.noise(3.0))
    head.paint(head.share(hull - outer), "bone")
    marrow = head.sheet(np.abs(hull - (inner + outer) / 2), (outer - inner) / 2 - 1.9)
    head.paint(marrow, "marrow", 1 + 0.3 * head.noise(5.0))
    head.paint(head.share(hull - inner), "csf")


def orbits(head: Head) -> None:
    """Paint what lies below the frontal lobes: sphenoid, ethmoid cells, orbits with the globes."""
    p = head.mirrored
    z, y, x = p
    roof = z + 26 - 8 * np.exp(-(((x - 33) / 17) ** 2)) + 0.15 * (y + 65)  # dome of each orbit
    base = smooth_max(y + 42 - 0.012 * (x - 32) ** 2, roof, 6)
    within = head.share(np.maximum(base, head.hull - 6))
    floor = head.share(head.hull + 1)  # underside of the frontal lobes
    head.paint(floor * head.share(base - 3.4), "grey")
    head.paint(floor * head.share(base - 0.8), "csf")
    cells = ellipsoid(p, (-36, -66, 0), (18, 27, 12.5)) + 1.5 * head.noise(4.0)
    head.paint(within, "bone")
    head.paint(within * np.clip(head.noise(6.0), 0, 1), "marrow")
    head.paint(head.share(cells), "air")
    mucosa = head.sheet(np.abs(head.noise(3.5)) * 3, 0.8) * head.share(cells)
    head.paint(within * mucosa, "fat")
    head.paint(within * head.share(capsule(p, [(-32, -84, 36), (-26, -48, 19)], [19, 6])), "fat")
    rectus = (
        [(-31, -74, 49), (-28, -60, 39), (-27, -46, 22)],  # lateral
        [(-31, -74, 21), (-27, -48, 14)],  # medial
        [(-18, -78, 35), (-21, -60, 27), (-24, -46, 19)],  # superior
    )
    for nodes in rectus:
        head.paint(within * head.share(capsule(p, nodes, 2.0)), "muscle")
    head.paint(within * head.share(capsule(p, [(-30, -68, 33), (-26, -46, 17)], 3.2)), "csf")
    head.paint(within * head.share(capsule(p, [(-30, -68, 33), (-26, -46, 17)], 1.9)), "white")
    globe = ellipsoid(p, (-31, -80, 33), (12.5, 12.5, 12.5))
    head.paint(within * head.share(globe - 0.9), "muscle")
    head.paint(within * head.share(globe), "vitreous")
