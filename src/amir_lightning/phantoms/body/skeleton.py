"""Red marrow of the whole-body phantom: vertebrae, ribs, sternum, pelvis, hips and shoulders."""

import numpy as np

from amir_lightning.phantoms.body.canvas import Canvas
from amir_lightning.phantoms.body.shapes import both, profile, ramp, section
from amir_lightning.phantoms.fields import Array, Points, Triple

# Upper end plates from L5 upwards: lumbar, thoracic, cervical heights [mm].
_LEVELS = (185 + np.cumsum([0.0, *[30] * 5, *np.linspace(25, 19, 12), *[14] * 7])).tolist()
_COUNT = range(len(_LEVELS))
_SPINE_Z = (70, 90, 140, 185, 240, 300, 360, 430, 500, 560, 600, 650, 712)
_SPINE_Y = (62, 70, 62, 42, 32, 38, 50, 60, 58, 45, 33, 23, 18)

# Half width, half depth and centre of the rib cage, inside of the ribs [mm].
_CAGE_Z = (60, 120, 180, 240, 330, 380, 430, 480, 525, 560, 585, 605, 614)
_CAGE_WIDTH = (60, 82, 106, 120, 131, 138, 140, 136, 126, 104, 78, 52, 26)
_CAGE_DEPTH = (52, 64, 72, 76, 84, 90, 92, 88, 78, 64, 50, 36, 18)
_CAGE_Y = (2, -2, -8, -10, -4, 0, 0, 0, 5, 12, 18, 20, 20)


def spine_y(z: Array | float) -> Array:
    """Centre of the vertebral bodies at a height [mm]: lordosis, kyphosis, lordosis."""
    return profile(z, _SPINE_Z, _SPINE_Y)


def cage(points: Points) -> Array:
    """Signed distance to the inside of chest and abdominal wall [mm]."""
    z, y, x = points
    width, depth, middle = (
        profile(z, _CAGE_Z, table) for table in (_CAGE_WIDTH, _CAGE_DEPTH, _CAGE_Y)
    )
    return section(y - middle, x, depth, width)


def draw_skeleton(canvas: Canvas, uptake: dict[str, float]) -> None:
    """Paint ribs, sternum, spine, sacrum, pelvis and hips."""
    marrow = uptake["marrow"]
    _ribs(canvas, marrow)
    _pelvis(canvas, marrow)
    _spine(canvas, marrow)


def draw_arm_bones(canvas: Canvas, uptake: dict[str, float], arms: list[list[Triple]]) -> None:
    """Paint shoulder girdle and humeri: fatty marrow, cold cortex."""
    for side, (shoulder, elbow, *_) in zip((-1, 1), arms, strict=True):
        marrow = 0.5 * uptake["marrow"]
        canvas.tube([shoulder, elbow], [10, 10], 0.3, "bone")
        canvas.tube([shoulder, elbow], [6, 6], 0.45, "bone")
        canvas.ellipsoid(shoulder, (23, 22, 22), marrow, "bone", texture=0.1)
        collar: list[Triple] = [(574, -52, 16 * side), (590, -28, 80 * side), (592, 8, 140 * side)]
        canvas.tube(collar, 6, 0.8, "bone")
        blade = (505.0, 78.0, 104.0 * side)
        canvas.ellipsoid(blade, (66, 5, 40), marrow, "bone", tilt=(-22 * side, 8 * side, 0))


def _ribs(canvas: Canvas, marrow: float) -> None:
    region = canvas.region((330, -115, -165), (605, 100, 165))
    z, y, x = region.points
    distance = cage(region.points)
    slanted = z - np.float32(0.5) * (y - 60) + np.float32(0.1) * np.abs(x)
    stripe = np.cos(slanted * np.float32(2 * np.pi / 25)) * 8 - 2  # > 0 on a rib [mm]
    rib = both(np.abs(distance - 8) - 5, -stripe, 350 - slanted, -55 - y)  # not the cartilage
    region.paint(rib, 0.7 * marrow, "bone")
    canvas.ellipsoid((498, -84, 0), (78, 6, 17), 0.8 * marrow, "bone", tilt=(0, 0, 10))


def _spine(canvas: Canvas, marrow: float) -> None:
    region = canvas.region((80, -10, -60), (712, 140, 60))
    z, y, x = region.points
    depth = profile(z, (90, 185, 330, 560, 610, 712), (13, 19, 17, 12, 9, 8))
    width = profile(z, (90, 150, 185, 330, 560, 610, 712), (14, 44, 27, 19, 15, 11, 10))
    behind = y - spine_y(z)
    level = ramp(z, _LEVELS, _COUNT)
    height = ramp(z, _LEVELS[:-1], np.diff(_LEVELS).tolist())
    part = level - np.floor(level)
    disc = profile(z, (185, 300, 560, 712), (5.0, 4.0, 2.2, 1.8))
    gap = disc - np.minimum(part, 1 - part) * height * (z > 184)
    gap = np.where(z > 184, gap, np.float32(-10))
    waist = 1 - np.float32(0.10) * np.cos(np.float32(2 * np.pi) * (part - 0.5))
    bodies = section(behind, x, depth, width * waist, exponent=2.8)
    region.paint(bodies, 0.55, "disc")
    fork = np.where(z > 184, np.float32(1), np.float32(0.8))
    tissue = marrow * fork * (1 + np.float32(0.06) * region.fine)
    region.paint(both(bodies, gap), tissue, "bone")
    canal = section(behind - depth - 10, x, 9, 10, exponent=2)
    slope = np.float32(0.9) * (behind - depth)
    step = ramp(z + slope, _LEVELS, _COUNT)
    knot = np.abs(step - np.floor(step) - np.float32(0.5)) * np.float32(24) - 8
    arch = both(np.abs(canal - 4) - 3.5, knot, 150 - z)
    process = both(np.abs(x) - 3.5, np.abs(behind - depth - 23) - 8, knot, 150 - z)
    region.paint(np.minimum(arch, process), 0.75 * marrow, "bone")
    cord = both(section(behind - depth - 9, x, 4, 5, exponent=2), 290 - z)
    region.paint(cord, 1.7, "spinal cord")


def _pelvis(canvas: Canvas, marrow: float) -> None:
    region = canvas.region((60, -70, -150), (216, 90, 150))
    z, y, x = region.points
    width = profile(z, (60, 110, 160, 215), (84, 96, 120, 134))
    depth = profile(z, (60, 110, 160, 215), (50, 62, 76, 84))
    crest = 212 - np.float32(0.008) * (y - 5) ** 2
    shell = np.abs(section(y - 6, x, depth, width, exponent=2)) - 5.5
    shell = shell - np.clip((100 - z) * np.float32(0.15), 0, 8)
    lateral = both(38 - np.abs(x), np.abs(y - 8) - 66)
    ilium = both(shell, z - crest, 66 - z, lateral, fillet_mm=6)
    region.paint(ilium, 0.85 * marrow * (1 + np.float32(0.08) * region.fine), "bone")
    for side in (-1, 1):
        hip: Triple = (70.0, 6.0, 90.0 * side)
        shaft: Triple = (36.0, 10.0, 128.0 * side)
        sitting: list[Triple] = [hip, (28, 38, 62 * side), (2, 42, 58 * side)]
        pubis: list[Triple] = [hip, (48, -42, 45 * side), (42, -58, 10 * side)]
        femur: list[Triple] = [hip, shaft, (-200, 2, 108 * side)]
        canvas.tube(sitting, [20, 14, 15], 0.6 * marrow, "bone")
        canvas.tube(pubis, [16, 9, 10], 0.6 * marrow, "bone")
        canvas.tube(femur, [10, 17, 15], 0.35, "bone")
        canvas.tube(femur, [12, 13, 8], 0.5, "bone")
        canvas.ellipsoid(hip, (22, 22, 22), 0.5 * marrow, "bone")
