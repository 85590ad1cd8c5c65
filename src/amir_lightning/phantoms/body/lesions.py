"""Tumours of the whole-body phantom: hot lesions in lung, liver, lymph nodes and bone."""

import numpy as np

from amir_lightning.phantoms import fields
from amir_lightning.phantoms.body.canvas import Canvas
from amir_lightning.phantoms.body.skeleton import spine_y
from amir_lightning.phantoms.fields import Triple

_NODES: tuple[Triple, ...] = (
    (520, 8, -18), (508, 18, 14), (492, 10, -42), (490, 12, 44), (545, -8, -14), (470, 22, 0),
    (600, -8, 58), (602, -8, -58), (650, -4, 40), (672, 4, -44), (545, 0, 120), (540, 2, -122),
    (300, 18, 22), (250, 14, -4), (210, 16, 18), (150, 20, -48), (130, 18, 50), (62, -52, 76),
)  # fmt: skip


def draw_lesions(rng: np.random.Generator, canvas: Canvas) -> None:
    """Paint up to nine lesions, but none in a third of the patients; brown fat in a few."""
    patterns = rng.choice(["none", "few", "many"], p=[0.33, 0.42, 0.25])
    count = {"none": 0, "few": int(rng.integers(1, 4)), "many": int(rng.integers(4, 10))}[patterns]
    for _ in range(count):
        _lesion(rng, canvas, *_site(rng))
    if rng.random() < 0.06:
        _brown_fat(rng, canvas)


def _site(rng: np.random.Generator) -> tuple[str, Triple, float]:
    """Where a lesion grows, its centre (z, y, x) and the largest radius that fits there [mm]."""
    side = int(rng.choice([-1, 1]))
    organ = rng.choice(["lung", "liver", "node", "spine", "pelvis"], p=[0.28, 0.2, 0.3, 0.12, 0.1])
    if organ == "lung":
        z, y, x = rng.uniform(430, 575), rng.uniform(-35, 50), side * rng.uniform(48, 92)
        return "lung", (z, y, x), 15.0
    if organ == "liver":
        return "liver", (rng.uniform(300, 370), rng.uniform(-35, 20), -rng.uniform(35, 100)), 15.0
    if organ == "node":
        z, y, x = _NODES[int(rng.integers(len(_NODES)))]
        return "node", (z + rng.normal(0, 4), y + rng.normal(0, 3), x + rng.normal(0, 3)), 10.0
    if organ == "spine":
        z = rng.uniform(200, 560)
        return "spine", (z, float(spine_y(z)), rng.normal(0, 7)), 10.0
    z, y, x = rng.uniform(110, 190), rng.uniform(-20, 55), side * rng.uniform(88, 112)
    return "pelvis", (z, y, x), 11.0


def _lesion(
    rng: np.random.Generator, canvas: Canvas, organ: str, centre: Triple, largest: float
) -> None:
    radius = float(np.exp(rng.uniform(np.log(4.0), np.log(largest))))
    uptake = float(np.exp(rng.uniform(np.log(3.0), np.log(15.0))))
    radii = tuple(float(r) for r in radius * rng.uniform(0.75, 1.25, 3))
    turn = fields.rotation(*rng.uniform(-45, 45, 3))
    region = canvas.around([centre], 2 * radius)
    distance = fields.ellipsoid(region.points, centre, (radii[0], radii[1], radii[2]), turn)
    distance = distance + np.float32(0.2 * radius) * region.fine
    tissue = uptake * (1 + np.float32(0.12) * region.fine)
    region.paint_lesion(distance, tissue, f"{organ} tumour", uptake)
    if radius > 11 and rng.random() < 0.5:
        core = distance + np.float32(0.55 * radius)
        region.paint_lesion(core, 0.25 * uptake, "necrosis", 0.25 * uptake)


def _brown_fat(rng: np.random.Generator, canvas: Canvas) -> None:
    """Paint symmetric supraclavicular and paravertebral fat that burns glucose."""
    uptake = float(rng.uniform(3, 8))
    for side in (-1, 1):
        path: list[Triple] = [(640, 10, 44 * side), (602, 6, 62 * side), (585, 10, 104 * side)]
        region = canvas.around(path, 14)
        distance = fields.capsule(region.points, path, [5, 9, 7]) + 3 * region.fine
        region.paint(distance, uptake, "brown fat")
        for z in range(400, 570, 22):
            height = z + float(rng.normal(0, 3))
            centre = (height, float(spine_y(height)) + 6, 27 * side)
            canvas.ellipsoid(centre, (5, 5, 5), uptake * float(rng.uniform(0.2, 0.7)), "brown fat")
