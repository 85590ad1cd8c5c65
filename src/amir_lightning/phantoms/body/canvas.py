"""Canvas of the whole-body phantom: patient coordinates, random textures, windowed painting."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amir_lightning.phantoms import fields
from amir_lightning.phantoms.fields import Array, Floats, Grid, Points, Triple
from amir_lightning.phantoms.frame import Frame, Window
from amir_lightning.phantoms.masks import Masks

ORGANS = ("air", "skin", "fat", "muscle", "visceral fat", "brown fat", "bone", "disc",
          "spinal cord", "mediastinum", "lung", "airways", "heart", "myocardium", "aorta",
          "vessels", "oesophagus", "breast", "liver", "gallbladder", "spleen", "pancreas",
          "stomach", "small bowel", "colon", "bowel contents", "kidney", "urine", "bladder wall",
          "bladder", "uterus", "prostate", "testes", "csf", "grey matter", "white matter", "sulci",
          "deep nuclei", "ventricles", "cerebellum", "brain stem", "mucosa", "tongue", "tonsils",
          "eye", "eye muscles", "salivary glands", "vocal cords", "thyroid")  # fmt: skip
_MARGIN_MM = 16.0  # windows grow by more than the warp moves an organ


@dataclass(frozen=True)
class Region:
    """A window of the canvas: painting on it changes the image.

    Attributes:
        points: Warped patient coordinates (z, y, x) [mm].
        image: View of the image [SUV].
        fine: Random field of zero mean and unit variance, structures of about 16 mm.
        coarse: The same with structures of about 60 mm.
        softness_mm: Half width of an edge [mm].
        masks: Organs and lesions of the whole canvas.
        window: Where the region lies in it.
    """

    points: Points
    image: Array
    fine: Array
    coarse: Array
    softness_mm: float
    masks: Masks
    window: Window

    def paint(self, distance: Array, value: float | Floats, organ: str) -> None:
        """Lay an organ of this uptake [SUV] over the inside of a signed distance [mm]."""
        self.mix(fields.soft_step(distance, self.softness_mm), value, organ)

    def mix(self, share: Array, value: float | Floats, organ: str) -> None:
        """Lay an organ of this uptake [SUV] over the image by its share of each voxel."""
        fields.paint(self.image, share, np.asarray(value, np.float32))
        self.masks.organ(share, organ, self.window)

    def paint_lesion(
        self, distance: Array, value: float | Floats, kind: str, nominal: float
    ) -> None:
        """Lay a lesion over the image; its uptake varies around the `nominal` one [SUV]."""
        share = fields.soft_step(distance, self.softness_mm)
        fields.paint(self.image, share, np.asarray(value, np.float32))
        self.masks.lesion(share, kind, nominal, self.window)


@dataclass(frozen=True)
class Canvas:
    """An image in the coordinates of a reference adult.

    The reference has its crotch at z = 0, its vertex at z = 880 and its spine near y = +40 mm.

    Attributes:
        frame: The patient's place and size in the field of view.
        points: Bent coordinates of the reference (z, y, x) [mm].
        image: Tracer concentration (Z, Y, X) [SUV].
        masks: Organs and lesions that have been painted so far.
        fine: Random field, see `Region`.
        coarse: Random field, see `Region`.
    """

    frame: Frame
    points: Points
    image: Array
    masks: Masks
    fine: Array
    coarse: Array

    @classmethod
    def blank(cls, rng: np.random.Generator, grid: Grid, scale: Triple, origin: Triple) -> "Canvas":
        """Make an empty canvas for a patient of this scale and origin, see `Frame`."""
        frame = Frame(grid, scale, origin, _MARGIN_MM)
        return cls(
            frame=frame,
            points=frame.bent(rng, 3.5, 38.0),
            image=np.zeros(grid.shape, np.float32),
            masks=Masks(grid.shape, ORGANS),
            fine=fields.lattice_noise(rng, grid, 8.0),
            coarse=fields.lattice_noise(rng, grid, 30.0, octaves=2),
        )

    @property
    def softness_mm(self) -> float:
        """Half a voxel in patient millimetres: the partial volume of an edge."""
        steps = zip(self.frame.grid.spacing_mm, self.frame.scale, strict=True)
        return 0.5 * float(np.mean([step / s for step, s in steps]))

    def region(self, low: Sequence[float], high: Sequence[float]) -> Region:
        """The window between two corners (z, y, x) in patient coordinates [mm], with a margin."""
        w = self.frame.window(low, high)
        return Region(
            points=fields.cut(self.points, w),
            image=self.image[w],
            fine=self.fine[w],
            coarse=self.coarse[w],
            softness_mm=self.softness_mm,
            masks=self.masks,
            window=w,
        )

    def around(self, nodes: Sequence[Triple], reach_mm: float) -> Region:
        """Window around all nodes with a border of `reach_mm`, in patient coordinates (z, y, x)."""
        corners = np.asarray(nodes)
        return self.region(corners.min(0) - reach_mm, corners.max(0) + reach_mm)

    def ellipsoid(
        self,
        centre: Triple,
        radii: Triple,
        value: float,
        organ: str,
        texture: float = 0.0,
        tilt: Triple = (0.0, 0.0, 0.0),
    ) -> None:
        """Paint an ellipsoid.

        Args:
            centre: Centre (z, y, x) [mm].
            radii: Semi-axes (z, y, x) [mm].
            value: Uptake [SUV].
            organ: Its label.
            texture: Relative standard deviation of the uptake inside; it roughens the surface too.
            tilt: Rotation about the z, y and x axis [degrees].
        """
        region = self.around([centre], max(radii))
        turn = fields.rotation(*tilt) if any(tilt) else None
        distance = fields.ellipsoid(region.points, centre, radii, turn)
        if texture:
            distance = distance + np.float32(0.07 * min(radii)) * region.fine
        region.paint(distance, value * (1 + texture * region.fine), organ)

    def tube(
        self, nodes: Sequence[Triple], radii: float | Sequence[float], value: float, organ: str
    ) -> None:
        """Paint a thick polyline through nodes (z, y, x) [mm]."""
        region = self.around(nodes, float(np.max(radii)))
        region.paint(fields.capsule(region.points, nodes, radii), value, organ)
