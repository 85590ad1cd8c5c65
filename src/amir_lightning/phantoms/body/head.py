"""Head and neck of the whole-body phantom: brain, orbits, glands, tonsils and airways."""

import numpy as np

from amir_lightning.phantoms import fields
from amir_lightning.phantoms.body.canvas import Canvas
from amir_lightning.phantoms.body.shapes import both, ramp
from amir_lightning.phantoms.fields import Triple


def draw_head(rng: np.random.Generator, canvas: Canvas, uptake: dict[str, float]) -> None:
    """Paint everything above the collar bones that is not bone or vessel."""
    _face(rng, canvas, uptake)
    _brain(canvas, uptake)


def _brain(canvas: Canvas, uptake: dict[str, float]) -> None:
    """Paint folded cortex over white matter, deep grey nuclei, ventricles and cerebellum."""
    cortex, white = uptake["cortex"], uptake["white matter"]
    region = canvas.region((715, -95, -72), (880, 105, 72))
    z, y, x = region.points
    skull = fields.ellipsoid(region.points, (802, 8, 0), (74, 92, 71))
    region.paint(both(skull, 740 - z), 0.6, "bone")
    brain = fields.ellipsoid(region.points, (803, 8, 0), (66, 84, 63), exponent=2.1)
    region.paint(both(brain - 2, 745 - z), 0.35, "csf")
    base = ramp(y, (-60, -38, -14, 20, 60), (774, 768, 752, 752, 774))
    middle = np.clip(766 - z, -9, 9) + 4 - np.abs(x) * 0.5
    fissure = 1.2 - np.abs(x) - ramp(z, (786, 794), (60, 0))
    cerebrum = both(brain, base - z, middle, fissure)
    depth = -cerebrum
    region.paint(cerebrum, white, "white matter")
    sulcus = np.abs(region.fine) * 6
    ribbon = both(cerebrum, np.minimum(depth - 5, np.maximum(sulcus - 3.2, depth - 17)))
    region.paint(ribbon, cortex * (1 + np.float32(0.07) * region.coarse), "grey matter")
    region.paint(both(cerebrum, sulcus - 0.5, depth - 14), 0.55 * cortex, "sulci")
    for side in (-1, 1):
        turn, lean = (-15.0 * side, 0.0, 0.0), (10.0 * side, 0.0, 0.0)
        hind = uptake["cerebellum"]
        canvas.ellipsoid((790, 14, 13 * side), (12, 15, 10), 0.95 * cortex, "deep nuclei")
        canvas.ellipsoid((796, -12, 25 * side), (15, 22, 7), 1.05 * cortex, "deep nuclei", 0, turn)
        canvas.ellipsoid((806, -20, 12 * side), (13, 14, 6), 1.0 * cortex, "deep nuclei")
        canvas.ellipsoid((806, 12, 10 * side), (9, 34, 5), 0.8, "ventricles", 0, lean)
        canvas.ellipsoid((755, 50, 19 * side), (24, 28, 25), hind, "cerebellum", texture=0.06)
    canvas.tube([(780, 18, 0), (750, 22, 0), (715, 26, 0)], [13, 12, 7], 0.5 * cortex, "brain stem")


def _face(rng: np.random.Generator, canvas: Canvas, uptake: dict[str, float]) -> None:
    gland = uptake["salivary glands"]
    canvas.ellipsoid((735, -62, 0), (26, 26, 20), 0.9, "mucosa", texture=0.25)
    canvas.ellipsoid((690, -46, 0), (22, 30, 22), uptake["tongue"], "tongue", texture=0.15)
    canvas.ellipsoid((708, -14, 0), (6, 14, 12), 0.8 * uptake["tonsils"], "tonsils")  # soft palate
    canvas.ellipsoid((722, 0, 0), (10, 5, 14), 0.6 * uptake["tonsils"], "tonsils")  # adenoids
    throat: list[Triple] = [(740, -50, 0), (715, -2, 0), (680, -4, 0), (650, -20, 0)]
    canvas.tube(throat, [5, 7, 8, 7], 0.15, "airways")
    for side in (-1, 1):
        tonsil = uptake["tonsils"] * float(rng.uniform(0.8, 1.2))
        canvas.ellipsoid((690, -12, 17 * side), (13, 7, 6), tonsil, "tonsils")
        canvas.ellipsoid((737, -52, 26 * side), (16, 16, 13), 0.15, "airways")  # sinus
        canvas.ellipsoid((768, -64, 32 * side), (13, 13, 13), 0.35, "eye")
        canvas.tube([(768, -54, 32 * side), (767, -32, 20 * side)], [9, 3], 1.7, "eye muscles")
        jaw: list[Triple] = [(668, -78, 8 * side), (676, -40, 44 * side), (728, -2, 54 * side)]
        canvas.tube(jaw, 5, 0.5, "bone")
        canvas.ellipsoid((700, -20, 52 * side), (24, 14, 8), 0.9, "muscle")  # masseter
        for centre, radii, part, texture in (
            ((712, 8, 57 * side), (22, 15, 8), 0.75, 0.2),  # parotid
            ((668, -26, 32 * side), (11, 14, 9), 1.1, 0.1),  # submandibular
            ((674, -54, 11 * side), (6, 13, 6), 1.3, 0.0),  # sublingual
        ):
            canvas.ellipsoid(centre, radii, part * gland, "salivary glands", texture)
        canvas.ellipsoid((634, -30, 6 * side), (6, 10, 4), uptake["cords"], "vocal cords")
        thyroid = uptake["thyroid"]
        canvas.ellipsoid((612, -24, 17 * side), (21, 9, 8), thyroid, "thyroid", texture=0.08)
