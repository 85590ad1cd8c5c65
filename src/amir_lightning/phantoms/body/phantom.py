"""Whole-body FDG PET patient: habitus and soft tissue; the organs are in `organs`.

Uptake is drawn as SUVbw, concentration over injected activity per body weight, which conserves
activity: over the whole patient it averages (1 - excreted fraction) / density, just below 1 g/mL.
The field of view leaves out the cold legs and holds brain and bladder: its mean is 0.7 to 1.2.
"""

from dataclasses import dataclass

import numpy as np

from amir_lightning.io.volume import Volume, lps_affine
from amir_lightning.phantoms import check_size, fields
from amir_lightning.phantoms.body.canvas import Canvas
from amir_lightning.phantoms.body.head import draw_head
from amir_lightning.phantoms.body.lesions import draw_lesions
from amir_lightning.phantoms.body.organs import draw_abdomen, draw_chest, draw_pelvis
from amir_lightning.phantoms.body.shapes import both, profile, section
from amir_lightning.phantoms.body.skeleton import draw_arm_bones, draw_skeleton
from amir_lightning.phantoms.body.uptake import sample_uptake
from amir_lightning.phantoms.fields import Array, Grid, Triple

_FIELD_MM = (748.0, 604.8, 604.8)  # 400 x 1.87 mm and 192 x 3.15 mm (paper, Sec. 3.1)

# Half width, half depth and centre of the trunk along z [mm].
_TRUNK_Z = (0, 40, 90, 140, 190, 240, 290, 340, 400, 460, 520, 555, 585, 605, 630, 740)
_TRUNK_WIDTH = (168, 174, 176, 172, 158, 147, 148, 154, 160, 164, 166, 156, 116, 78, 58, 54)
_TRUNK_DEPTH = (98, 108, 112, 108, 100, 97, 99, 104, 109, 111, 104, 92, 76, 66, 60, 58)
_TRUNK_Y = (6, 10, 10, 5, 0, 0, 0, 0, 0, 0, 4, 10, 16, 18, 18, 16)
_FAT = (1.1, 1.3, 1.3, 1.2, 1.2, 1.2, 1.0, 0.8, 0.7, 0.7, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2)


@dataclass(frozen=True)
class Body:
    """FDG patients from the vertex to the upper thighs, the field of view of a PET scan.

    Attributes:
        size: Voxels per transaxial side of 604.8 mm (paper: 192).
        num_slices: Transaxial slices over 748 mm (paper: 400).

    Raises:
        InputError: The volume is too small, see `check_size`.
    """

    size: int = 192
    num_slices: int = 400

    def __post_init__(self) -> None:
        check_size("body", self.size, self.num_slices)

    def sample(self, seed: int) -> Volume:
        """Draw one patient; the same seed gives the same patient at every size.

        Args:
            seed: Any non-negative integer.

        Returns:
            Tracer concentration without noise and blurring, (Z, Y, X) [SUV], with labels of organs
            and lesions.
        """
        rng = np.random.default_rng([seed, 0xFD6])
        grid = Grid.over(_FIELD_MM, self.size, self.num_slices)
        build = float(np.clip(rng.normal(0.0, 1.0), -1.6, 1.8))  # slim to stout
        female = bool(rng.random() < 0.5)
        arms_up = bool(rng.random() < 0.4)
        height = float(rng.uniform(0.80, 0.83))
        scale = (height, 0.86 + 0.05 * build, 0.87 + 0.045 * build)
        top = _FIELD_MM[0] / 2 - float(rng.uniform(8, 15))
        canvas = Canvas.blank(rng, grid, scale, (top - 882 * height, 10.0, 0.0))
        uptake = sample_uptake(rng)
        arms = _arms(rng, arms_up)
        trunk, limbs = _skin(canvas, arms, female)
        _soft_tissue(canvas, uptake, trunk, limbs, fat_mm=13.0 + 5.0 * build)
        draw_skeleton(canvas, uptake)
        draw_arm_bones(canvas, uptake, arms)
        draw_chest(rng, canvas, uptake, female)
        draw_abdomen(rng, canvas, uptake)
        draw_pelvis(rng, canvas, uptake, female)
        draw_head(rng, canvas, uptake)
        draw_lesions(rng, canvas)
        texture = fields.lattice_noise(rng, grid, 10.0, octaves=2)
        image = np.clip(canvas.image * (1 + np.float32(0.06) * texture), 0, None)
        air = np.minimum(trunk, limbs) > canvas.softness_mm
        image[air] = 0  # exactly
        canvas.masks.organ(air, "air")
        source, labels = f"phantom body seed {seed}", canvas.masks.labels()
        return Volume(image, lps_affine(grid.spacing_mm), "SUV", source, labels)


def _arms(rng: np.random.Generator, raised: bool) -> list[list[Triple]]:
    """Shoulder, elbow, wrist and hand (z, y, x) of the right and the left arm [mm]."""
    arms: list[list[Triple]] = []
    for side in (-1, 1):
        dx, dy = rng.normal(0, 6), rng.normal(0, 8)
        if raised:
            bend = [(745 + dy, -5 + dy, 196 + dx), (905, -25 + dy, 120 + dx), (990, -30, 90)]
            arm = [(562, 12, 152), *bend]
        else:
            bend = [(335, 25 + dy, 214 + dx), (120, 0 + dy, 226 + dx), (35, -10 + dy, 226 + dx)]
            arm = [(556, 12, 158), *bend]
        arms.append([(float(z), float(y), float(side * x)) for z, y, x in arm])
    return arms


def _skin(canvas: Canvas, arms: list[list[Triple]], female: bool) -> tuple[Array, Array]:
    """Signed distances to the skin of trunk with head and thighs, and of the arms [mm]."""
    z, y, x = canvas.frame.straight
    width, depth, middle = (
        profile(z, _TRUNK_Z, table) for table in (_TRUNK_WIDTH, _TRUNK_DEPTH, _TRUNK_Y)
    )
    trunk = section(y - middle, x, depth, width)
    trunk = both(trunk, 14 + np.float32(0.1) * np.abs(x) - z, z - 750, fillet_mm=50)

    def add(
        distance: Array, shapes: list[tuple[list[Triple], list[float]]], fillet_mm: float
    ) -> None:
        for nodes, radii in shapes:
            corners, reach = np.asarray(nodes), max(radii) + 60
            w = canvas.frame.window(corners.min(0) - reach, corners.max(0) + reach)
            shape = fields.capsule(fields.cut(canvas.frame.straight, w), nodes, radii)
            distance[w] = fields.smooth_min(distance[w], shape, fillet_mm)

    for side in (-1, 1):
        add(trunk, [([(70, 12, 88.0 * side), (-200, 4, 100.0 * side)], [86, 66])], 22)
        if female:
            add(trunk, [([(462, -92, 70.0 * side), (450, -104, 74.0 * side)], [48, 36])], 18)
    if not female:
        add(trunk, [([(12, -62, 0), (-14, -66, 0)], [22, 24])], 16)
    w = canvas.frame.window((600, -160, -140), (900, 160, 140))
    points = fields.cut(canvas.frame.straight, w)
    skull = fields.ellipsoid(points, (802, 8, 0), (78, 96, 75))
    face = fields.ellipsoid(points, (732, -38, 0), (76, 56, 58), exponent=2.5)
    head = fields.smooth_min(skull, face, 30)
    trunk[w] = fields.smooth_min(trunk[w], head, 24)
    add(trunk, [([(742, -84, 0), (724, -92, 0)], [9, 11])], 14)  # nose
    for side in (-1, 1):
        add(trunk, [([(760, 16, 76.0 * side), (732, 10, 74.0 * side)], [8, 6])], 3)  # ears
    limbs = np.full_like(trunk, 100.0)
    for arm in arms:
        add(limbs, [(arm, [50, 39, 27, 24])], 1)
    roughness = 2 * canvas.coarse
    return trunk + roughness, limbs + roughness


def _soft_tissue(
    canvas: Canvas, uptake: dict[str, float], trunk: Array, limbs: Array, fat_mm: float
) -> None:
    """Paint skin, subcutaneous fat and striated muscle with seams of fat between its bellies."""
    image, softness = canvas.image, canvas.softness_mm
    skin = fields.smooth_min(trunk, limbs, 25)
    envelope = fields.soft_step(skin, softness)
    fields.paint(image, envelope, uptake["skin"])
    canvas.masks.organ(envelope, "skin")
    fat = uptake["fat"] * (1 + np.float32(0.12) * canvas.fine)
    below = fields.soft_step(skin + 3, softness)
    fields.paint(image, below, fat)
    canvas.masks.organ(below, "fat")
    layer = np.float32(fat_mm) * profile(canvas.frame.straight[0], _TRUNK_Z, _FAT)
    layer = 3 + layer * np.clip(1 + np.float32(0.3) * canvas.coarse, 0.4, 1.8)
    muscle = fields.smooth_min(trunk + layer, limbs + np.float32(4 + 0.3 * fat_mm), 20)
    inside = fields.soft_step(muscle, softness)
    fields.paint(image, inside, uptake["muscle"] * (1 + np.float32(0.12) * canvas.coarse))
    canvas.masks.organ(inside, "muscle")
    seams = np.exp(-((canvas.fine + np.float32(0.6) * canvas.coarse) ** 2) / np.float32(0.06))
    fields.paint(image, np.float32(0.4) * seams * inside, fat)
