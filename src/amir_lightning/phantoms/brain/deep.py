"""Ventricles, deep nuclei, brain stem, cerebellum and vessels, as tables of shapes.

Positions are (z, y, |x|) of the standard head in millimetres: both sides are drawn at once, and
asymmetry comes from the warped coordinates. Proportions were set by eye.
"""

import numpy as np

from amir_lightning.phantoms.brain.head import Head
from amir_lightning.phantoms.fields import (
    Array,
    Triple,
    capsule,
    ellipsoid,
    rotation,
    smooth_max,
    smooth_min,
)

Line = tuple[list[Triple], list[float]]  # nodes and radii

Nucleus = tuple[str, Triple, Triple, float]  # tissue, centre, radii, turn about z [degrees]

PUTAMEN: Nucleus = ("striatum", (2, -17, 26.5), (13, 17, 4.8), -12)
PALLIDUM: Nucleus = ("pallidum", (-1, -12, 20), (7, 9, 3.6), -22)
THALAMUS: Nucleus = ("thalamus", (6, 3, 11.5), (10, 15, 8), -22)
CAUDATE: Nucleus = ("striatum", (8, -31, 13), (12, 10, 4.8), 25)
CAUDATE_BODY: Line = ([(16, -22, 14), (25, -4, 16), (22, 14, 22)], [3.2, 2.4, 1.2])

LATERAL_VENTRICLE: Line = (
    [
        (5, -46, 15), (8, -38, 11), (12, -28, 6.5), (15, -17, 4.5), (22, -6, 6),
        (25, 6, 8.5), (22, 20, 15), (13, 30, 22), (6, 44, 24), (4, 56, 20),
    ],
    [1.2, 2.8, 3.6, 3.0, 4.0, 4.3, 4.6, 5.0, 3.0, 0.6],
)  # fmt: skip
TEMPORAL_HORN: Line = (
    [(13, 30, 22), (-3, 24, 29), (-12, 8, 32), (-17, -8, 30)],
    [5, 2.4, 1.3, 0.8],
)
CHOROID_PLEXUS: Line = ([(21, 14, 14), (12, 29, 22)], [1.0, 2.0])

CISTERNS: list[tuple[Triple, Triple]] = [
    ((-22, -17, 0), (11, 9, 11)),  # suprasellar
    ((-4, 25, 0), (9, 5, 6)),  # quadrigeminal
]
INTERPEDUNCULAR: tuple[Triple, Triple] = ((-20, -7, 0), (11, 6, 4.5))
MIDBRAIN: tuple[Triple, Triple] = ((-24, 5, 0), (20, 12.5, 15))
TECTUM: tuple[Triple, Triple] = ((-14, 16, 5), (9, 5, 5))
MIDBRAIN_NUCLEI: list[tuple[Triple, Triple, float]] = [
    ((-13, 2, 5), (4, 3.2, 3), 0),  # red nucleus
    ((-16, -3, 10), (5, 2, 5), 35),  # substantia nigra
]
ARTERIES: list[Line] = [
    ([(-19, -18, 9), (-15, -18, 28), (-4, -14, 42), (8, -4, 43)], [1.4, 1.2, 1.0, 0.7]),  # middle
    ([(-19, -20, 5), (-14, -28, 1.5), (0, -54, 1.5), (20, -54, 1.2)], [1.1, 1.0, 0.9, 0.7]),
    ([(-40, -10, 0), (-20, -10, 0)], [1.7, 1.5]),  # basilar
    ([(-40, -16, 9), (-19, -18, 8)], [2.0, 1.8]),  # internal carotid
]


def deep_brain(head: Head) -> None:
    """Paint nuclei, then what lies between them: midbrain, cisterns, ventricles, vessels."""
    p, noise = head.mirrored, head.noise
    texture = 1 + 0.03 * noise(6.0)
    wider = head.ventricles_mm
    for nucleus in (PUTAMEN, PALLIDUM, THALAMUS, CAUDATE):
        tissue, (z, y, x), radii, turn = nucleus
        x += 0.6 * wider * (nucleus is CAUDATE)
        shape = ellipsoid(p, (z, y, x), radii, rotation(turn), 2.3)
        head.paint(head.share(shape, 0.6), tissue, texture)
        if nucleus is PUTAMEN:  # the claustrum is a thin sheet beside it
            head.paint(0.7 * head.sheet(np.abs(shape - 3.0), 0.6) * (p[2] > 26), "grey")
    head.paint(head.share(capsule(p, *CAUDATE_BODY)), "striatum", texture)

    rough = 1.2 * noise(6.0)
    for centre, radii in CISTERNS:
        head.paint(head.share(ellipsoid(p, centre, radii) + rough), "csf")
    stem = smooth_min(ellipsoid(p, *MIDBRAIN), ellipsoid(p, *TECTUM), 4) + 0.4 * rough
    low = np.clip((-4 - p[0]) / 5, 0, 1)
    head.paint(head.sheet(np.abs(stem - 1.6), np.clip(0.9 + 0.8 * rough, 0, None)) * low, "csf")
    head.paint(head.share(stem) * low, "brain stem", texture)
    for centre, radii, turn in MIDBRAIN_NUCLEI:
        head.paint(0.8 * head.share(ellipsoid(p, centre, radii, rotation(turn)), 0.6), "pallidum")
    head.paint(head.share(ellipsoid(p, *INTERPEDUNCULAR) + 0.6 * rough), "csf")

    head.paint(head.share(ventricles(head)), "csf", organ="ventricles")
    head.paint(head.share(capsule(p, *CHOROID_PLEXUS) + 0.8 * noise(3.0)), "plexus")
    for nodes, thickness in ARTERIES:
        head.paint(head.share(capsule(p, nodes, thickness)), "flow")
    middle = np.abs(head.points[2])
    sinus = np.maximum(middle + 0.5 * np.abs(head.hull + 1) - 3.0, -p[1])
    head.paint(head.share(sinus), "flow")


def ventricles(head: Head) -> Array:
    """Signed distance to the lateral ventricles, the third ventricle and the aqueduct [mm]."""
    p, wider = head.mirrored, np.float32(head.ventricles_mm)
    lateral = capsule(p, *LATERAL_VENTRICLE) - wider
    lateral = smooth_min(lateral, capsule(p, *TEMPORAL_HORN) - np.float32(0.6) * wider, 3)
    caudate = ellipsoid(p, (8, -30, 14.5 + head.ventricles_mm), (12, 9, 5), rotation(25))
    lateral = smooth_max(lateral, -caudate, 1.5)  # its head indents the frontal horn
    lateral = smooth_max(lateral, np.float32(0.8) - p[2], 1.0)  # septum pellucidum
    third = ellipsoid(p, (-2, -3, 0), (11, 14, max(1.6 + 0.9 * head.ventricles_mm, 0.9)))
    aqueduct = capsule(p, [(-8, 11, 0), (-26, 15, 0), (-40, 22, 0)], [1.2, 1.0, 5.0])
    return np.minimum(np.minimum(lateral, third), aqueduct)


def cerebellum(head: Head) -> None:
    """Paint the cerebellum under its tent: fine folia around the white core, CSF around it."""
    z, y, x = head.mirrored
    tent = z + 3 + 0.48 * x
    outline = smooth_max(ellipsoid(head.mirrored, (-36, 44, 0), (35, 34, 47)), tent, 5)
    outline = outline + 0.7 * head.noise(8.0)
    radius = np.sqrt((y - 12) ** 2 + 0.8 * x**2 + 1.5 * (z + 22) ** 2)
    folia = np.cos(np.float32(np.pi / 3.7) * (radius + 2.2 * head.noise(10.0))) ** 2
    rim = np.clip(0.2 + 0.4 * head.noise(7.0), 0, None)
    head.paint(head.sheet(np.abs(outline - 0.5), rim), "csf")
    head.paint(head.share(outline), "grey", 0.96)
    core = ellipsoid(head.mirrored, (-34, 38, 20), (12, 15, 13)) + 2.5 * head.noise(6.0)
    head.paint(0.9 * head.share(np.maximum(core, outline + 6), 1.0), "white")
    near = np.clip(1 + (outline + 3) / 14, 0, 1) * head.share(outline)
    head.paint(
        near * np.clip(0.15 + 0.2 * head.atrophy + 0.2 * head.noise(6.0), 0, 1) * folia**2, "csf"
    )
