"""Canvas of one patient's abdomen, on which organs are painted one by one in warped coordinates.

Anatomy is written once, in the frame of a standard patient; `Canvas` knows how this patient differs
(size, position, smooth bending), draws only where an organ can be, and softens edges by the voxel.
"""

from dataclasses import dataclass
from types import EllipsisType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from amir_lightning.phantoms.fields import (
    Array,
    Grid,
    Points,
    Triple,
    capsule,
    cut,
    ellipsoid,
    lattice_noise,
    paint,
    rotation,
    soft_step,
)
from amir_lightning.phantoms.frame import Frame, Window
from amir_lightning.phantoms.masks import Masks

ORGANS = ("air", "couch", "skin", "fat", "muscle", "lung", "bone", "cartilage", "disc",
          "spinal canal", "liver", "gallbladder", "gallbladder wall", "gallstone", "spleen",
          "adrenal", "kidney", "renal sinus", "renal pelvis", "pancreas", "vessels", "aorta",
          "vena cava", "calcification", "stomach", "duodenum", "small bowel", "colon",
          "bowel contents")  # fmt: skip
_FAR = np.float32(1e3)
_REACH = 5.0  # beyond a tube, for the fat around it [mm]
_MARGIN = 11.0  # reach of the warp, four standard deviations, and of an edge [mm]


class Shape(NamedTuple):
    """A signed distance [mm] on a part of the volume."""

    window: Window
    distance: Array


@dataclass
class Canvas:
    """An image in HU with the frame of one patient.

    Attributes:
        frame: The patient's place and size in the volume.
        image: What has been painted so far (Z, Y, X) [HU].
        masks: Organs and lesions that have been painted so far.
        points: Bent coordinates of the standard patient (z, y, x) [mm].
        edge: Random field of unit variance that makes surfaces uneven.
        fine: Random field of unit variance, the grain of tissue.
        inside: Signed distance to the abdominal cavity [mm].
    """

    frame: Frame
    image: Array
    masks: Masks
    points: Points
    edge: Array
    fine: Array
    inside: Array

    @classmethod
    def blank(cls, rng: np.random.Generator, grid: Grid, scale: Triple, origin: Triple) -> "Canvas":
        """Make a canvas of air for a patient of this scale and origin, see `Frame`."""
        frame = Frame(grid, scale, origin, _MARGIN)
        return cls(
            frame=frame,
            image=np.full(grid.shape, -1000, np.float32),
            masks=Masks(grid.shape, ORGANS),
            points=frame.bent(rng, 2.4, 50.0),
            edge=lattice_noise(rng, grid, 13.0, octaves=2),
            fine=lattice_noise(rng, grid, 3.2),
            inside=np.full(grid.shape, -_FAR, np.float32),
        )

    @property
    def grid(self) -> Grid:
        """Voxels of the volume."""
        return self.frame.grid

    @property
    def softness(self) -> float:
        """Half width of an edge [mm]: the blur of the scanner, but at least half a voxel."""
        return max(0.6, 0.55 * self.grid.spacing_mm[1])

    def at(self, window: Window) -> Points:
        """Points of the standard frame in a window."""
        return cut(self.points, window)

    def blob(
        self,
        centre: Triple,
        radii: Triple,
        turn: Triple = (0, 0, 0),
        rough: float = 0.0,
        exponent: float = 2.0,
    ) -> Shape:
        """Superellipsoid, turned about (z, y, x) [degrees], its surface uneven by `rough` [mm]."""
        matrix = rotation(*turn) if any(turn) else None
        reach = np.full(3, max(radii)) if any(turn) else np.asarray(radii)
        window = self.frame.window(np.asarray(centre) - reach, np.asarray(centre) + reach)
        distance = ellipsoid(self.at(window), centre, radii, matrix, exponent)
        return Shape(window, distance + np.float32(rough) * self.edge[window])

    def tube(self, nodes: ArrayLike, radii: ArrayLike, rough: float = 0.0) -> Shape:
        """Thick polyline: as `capsule`, but each piece is measured only where it is near."""
        line = np.asarray(nodes, float)
        width = np.broadcast_to(np.asarray(radii, float), len(line))
        pad = width.max() + _REACH
        whole = self.frame.window(line.min(0) - pad, line.max(0) + pad)
        distance = np.full([w.stop - w.start for w in whole], _FAR)
        if not distance.size:
            return Shape(whole, distance)
        for a, b, r, s in zip(line, line[1:], width, width[1:], strict=False):
            reach = max(r, s) + _REACH
            near = self.frame.window(np.minimum(a, b) - reach, np.maximum(a, b) + reach)
            if all(w.stop > w.start for w in near):
                local = tuple(
                    slice(n.start - w.start, n.stop - w.start)
                    for n, w in zip(near, whole, strict=True)
                )
                piece = capsule(self.at(near), [a, b], [r, s])
                distance[local] = np.minimum(distance[local], piece)
        return Shape(whole, distance + np.float32(rough) * self.edge[whole])

    def fill(
        self,
        shape: Shape,
        value: float | Array,
        organ: str,
        grow: float = 0.0,
        grain: float = 0.0,
        within: Array | None = None,
    ) -> None:
        """Paint a tissue, inside the abdominal cavity or any other full-size distance `within`.

        Args:
            shape: Where.
            value: The tissue [HU], one number or an array of the shape's window.
            organ: Its label.
            grow: Thickness added to the shape [mm].
            grain: Standard deviation of the fine unevenness of the tissue [HU].
            within: Signed distance of the volume that limits the shape [mm].
        """
        share = self._lay(shape, value, grow, grain, within)
        self.masks.organ(share, organ, shape.window)

    def fill_lesion(
        self,
        shape: Shape,
        value: float | Array,
        kind: str,
        nominal: float,
        grain: float = 0.0,
        within: Array | None = None,
    ) -> None:
        """Paint a lesion of a `kind` and a `nominal` attenuation [HU]; the rest is as in `fill`."""
        share = self._lay(shape, value, 0.0, grain, within)
        self.masks.lesion(share, kind, nominal, shape.window)

    def paint(
        self, share: Array, value: float | Array, organ: str, window: Window | EllipsisType = ...
    ) -> None:
        """Paint a tissue [HU] by its share of each voxel of a window."""
        paint(self.image[window], share, value)
        self.masks.organ(share, organ, window)

    def _lay(
        self, shape: Shape, value: float | Array, grow: float, grain: float, within: Array | None
    ) -> Array:
        """Paint a tissue, and its share of each voxel of the shape's window."""
        window, distance = shape
        limit = (self.inside if within is None else within)[window]
        share = soft_step(np.maximum(distance - np.float32(grow), limit), self.softness)
        tissue = value + np.float32(grain) * self.fine[window] if grain else value
        paint(self.image[window], share, tissue)
        return share
