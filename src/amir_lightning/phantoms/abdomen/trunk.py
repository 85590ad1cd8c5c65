"""Trunk around the abdomen: skin, fat, muscular wall, lung bases, back muscles, ribs and spine."""

from functools import partial

import numpy as np

from amir_lightning.phantoms.abdomen.canvas import Canvas, Shape
from amir_lightning.phantoms.abdomen.patient import Patient
from amir_lightning.phantoms.fields import (
    Array,
    capsule,
    ellipsoid,
    lattice_noise,
    paint,
    smooth_max,
    smooth_min,
    soft_step,
)

_PITCH = 34.0  # a lumbar vertebra and its disc [mm]
_SLOPE = 0.58  # fall of a rib on its way forward [mm/mm]
_FLAT = 1e4  # radius of a shape that does not end along z [mm]


def _ramp(x: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth in between."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def draw_table(canvas: Canvas, patient: Patient) -> None:
    """Paint the couch below the mattress: a carbon-fibre shell with a foam core."""
    z, y, x = canvas.grid.points
    back = patient.shift[1] + 96 * patient.scale[1] + patient.fat_mm + 9
    radius = np.float32(420)
    depth = radius - np.sqrt(x**2 + (y - np.float32(back) + radius) ** 2)
    end = np.maximum(np.abs(x) - 150, np.sqrt(x**2 + y**2) - 194)
    for low, high, value in (
        (-13, 0, 40),
        (-11.2, -2.2, -930),
    ):  # nested: thin shells keep their mass
        layer = np.maximum(np.maximum(depth - high, low - depth), end)
        canvas.paint(soft_step(layer + 0 * z, canvas.softness), value, "couch")


def draw_trunk(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Paint body contour, abdominal wall, lungs, and a cavity that holds only fat so far.

    Sets ``canvas.inside``, the signed distance to the abdominal cavity.
    """
    z, y, x = canvas.points
    hu, soft = patient.hu, canvas.softness
    side = np.abs(x)
    waist = 1 - np.float32(0.0006) * np.clip(-z, -20, 60)
    flat = np.zeros((1, 1, 1), np.float32)
    wall = ellipsoid((flat, y, x / waist), (0, 0, 0), (_FLAT, 95, 138), exponent=2.35)
    groove = _ramp(y, 40, 75) * np.exp(-((x / np.float32(11)) ** 2))
    wall += 5 * groove + np.float32(0.7) * canvas.edge

    uneven = lattice_noise(rng, canvas.grid, 70.0)
    belly = 1 - np.float32(0.25) * _ramp(y, 20, 60) + np.float32(0.35) * _ramp(-y, 30, 80)
    belly += np.float32(0.25) * _ramp(-z, -30, 60) - np.float32(0.55) * _ramp(side, 100, 150)
    fat = np.float32(patient.fat_mm) * np.clip(belly + np.float32(0.10) * uneven, 0.3, None) + 1.5
    z, y, x = canvas.frame.straight  # the skin is smoother than what lies below it
    skin = ellipsoid((flat, y, x / waist), (0, 0, 0), (_FLAT, 95, 138), exponent=2.35)
    skin = smooth_min(skin + 4 * groove - fat, wall - 4, 4)
    z, y, x = canvas.points
    canvas.paint(soft_step(skin - np.float32(1.8), soft), hu["skin"], "skin")
    septa = np.exp(-((lattice_noise(rng, canvas.grid, (20, 6, 18)) / np.float32(0.06)) ** 2))
    septa *= np.clip(0.5 + canvas.edge, 0, 1)
    canvas.paint(soft_step(skin, soft), hu["fat"] + 20 * septa + 5 * canvas.fine, "fat")

    front = _ramp(-y, 15, 40)
    rectus = 2 + 10 * np.sqrt(np.clip(1 - ((side - 36) / 33) ** 2, 0, 1))
    lateral = 1 - front * (1 - _ramp(side, 62, 80))
    thick = np.float32(patient.muscularity) * (rectus + lateral * (12.5 - rectus))
    muscle = hu["muscle"] + 4 * canvas.fine
    canvas.paint(soft_step(wall, soft), muscle, "muscle")
    planes = np.clip(lateral * (1 - _ramp(y, 45, 70)), 0, 1) * np.clip(0.55 + 0.45 * uneven, 0, 1)
    for part in (0.36, 0.66):  # fat planes between the external, internal and transverse muscles
        plane = np.abs(wall + np.float32(part) * thick) - np.float32(0.55)
        canvas.paint(planes * soft_step(plane, soft), -70, "fat")

    mound = ellipsoid((flat, y, x), (0, 95, 0), (_FLAT, 53, 68)) - np.float32(0.5) * canvas.edge
    cavity = np.maximum(wall + thick, -mound)
    dome = ellipsoid(
        (np.maximum(z - x * np.float32(0.03), -22), y, x), (-22, -14, 0), (135, 104, 160)
    )
    dome += np.float32(0.8) * canvas.edge
    lung = hu["lung"] + 22 * _ramp(y, -20, 90) + 8 * uneven
    markings = lattice_noise(rng, canvas.grid, 4.5)
    lung = lung + 330 * _ramp(markings, 2.0, 2.8) + 12 * canvas.fine
    canvas.paint(soft_step(cavity, soft), lung, "lung")
    canvas.paint(soft_step(np.maximum(cavity, dome), soft), muscle, "muscle")
    canvas.inside = smooth_max(cavity, dome + np.float32(2.2), 6.0)
    strands = np.exp(-((lattice_noise(rng, canvas.grid, 8.0) / np.float32(0.06)) ** 2))
    filling = hu["fat"] + 22 * strands + 5 * canvas.fine
    canvas.paint(soft_step(canvas.inside, soft), filling, "fat")
    _back_muscles(canvas, patient, lattice_noise(rng, canvas.grid, (18, 3, 5)))
    _ribs(canvas, patient, rng, cavity)


def _back_muscles(canvas: Canvas, patient: Patient, streaks: Array) -> None:
    """Paint erector spinae, quadratus lumborum and psoas, with fat in and between them."""
    hu = patient.hu
    everywhere = np.full((1, 1, 1), -1e3, np.float32)
    limit = np.broadcast_to(everywhere, canvas.grid.shape)
    marbling = -110 * _ramp(streaks, 2.2 - 1.6 * patient.infiltration, 3.4)
    size = patient.muscularity
    for s in (-1, 1):
        muscles = (
            canvas.blob((-62, 62, 54 * s), (72, 8.5 * size, 21), (25 * s, 0, 0), 0.6),
            canvas.blob((0, 71, 30 * s), (_FLAT, 19 * size, 30), (-6 * s, 0, 0), 0.8, 2.4),
            canvas.tube([(-90, 36, 40 * s), (-30, 36, 35 * s), (30, 32, 26 * s)],
                        [20 * size, 14 * size, 2], 0.6),
        )  # fmt: skip
        for muscle in muscles:
            tissue = hu["muscle"] + marbling[muscle.window] + 4 * canvas.fine[muscle.window]
            plane = Shape(muscle.window, muscle.distance - 0.7 * canvas.edge[muscle.window])
            canvas.fill(plane, -70.0, "fat", grow=0.7, within=limit)
            canvas.fill(muscle, tissue, "muscle", within=limit)


def _ribs(canvas: Canvas, patient: Patient, rng: np.random.Generator, cavity: Array) -> None:
    """Paint ribs as slanting rods in the wall, which slices cut obliquely; cartilage in front."""
    hu = patient.hu
    depth = cavity - np.float32(4.6)
    z, y, x = canvas.points
    near = np.abs(depth) < 6  # a thin layer: far fewer voxels than the volume
    z, y, x, t = z[near], y[near], x[near], depth[near]
    arc = np.float32(118) * np.arctan2(np.abs(x), y + 8)
    image, fine, marrow = canvas.image[near], canvas.fine[near], hu["trabecular"] - 20
    parts = {"bone": np.zeros(z.shape, bool), "cartilage": np.zeros(z.shape, bool)}
    # Vertebra at which a rib starts, length of its bone and of bone and cartilage [mm].
    for level, bone, end in ((1, 120, 122), (2, 185, 190), (3, 235, 265), (4, 250, 330),
                             (5, 265, 370), (6, 280, 370)):  # fmt: skip
        for s in (-1, 1):
            lift, bone_end = rng.normal(0, 2.5), bone + rng.normal(0, 8)
            fall = z - np.float32(_PITCH * level + lift) + np.float32(_SLOPE) * (arc - 30)
            rod = np.hypot(fall * np.float32(0.55), t) - np.float32(3.7)
            rod = np.maximum(rod, np.maximum(arc - np.float32(end), 26 - arc))
            rod = np.where(x * s > 0, rod, np.float32(9))
            costal = _ramp(arc, bone_end - 4, bone_end + 4)
            shell = hu["cortical"] + costal * (hu["cartilage"] - hu["cortical"])
            core = marrow + 25 * fine + costal * (hu["cartilage"] - 15 - marrow)
            share = soft_step(rod, canvas.softness)
            paint(image, share, shell)
            parts["bone"] |= (share > 0.5) & (costal < 0.5)
            parts["cartilage"] |= (share > 0.5) & (costal >= 0.5)
            paint(image, soft_step(rod + np.float32(1.5), canvas.softness), core)
    canvas.image[near] = image
    for organ, part in parts.items():
        where = np.zeros(near.shape, bool)
        where[near] = part
        canvas.masks.organ(where, organ)


def draw_skeleton(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Paint vertebrae and discs; call it last, because they cover the muscles around them."""
    window = canvas.frame.window((-200, 5, -52), (200, 95, 52))
    z, y, x = canvas.at(window)
    hu, soft = patient.hu, canvas.softness
    fine, side = canvas.fine[window], np.abs(x)
    phase = np.float32(rng.uniform(-6, 6))
    z = np.mod(z - phase + np.float32(_PITCH / 2), np.float32(_PITCH)) - np.float32(_PITCH / 2)
    flat = np.zeros((1, 1, 1), np.float32)
    column = ellipsoid((flat, y, x), (0, 27, 0), (_FLAT, 16, 22.5), exponent=2.4)
    column += np.float32(0.4) * canvas.edge[window] - 2 * (z / np.float32(14)) ** 2 + 1
    hollow = 1 - ((y - 27) / np.float32(16)) ** 2 - (x / np.float32(22.5)) ** 2
    plate = np.abs(z) - np.float32(12.5) + np.float32(2.4) * np.clip(hollow, 0, None)
    vertebra = np.maximum(column, plate)
    points = (z, y, side)
    arch = [
        capsule(points, [(5, 34, 12), (4, 51, 15)], 4.8),  # pedicle
        capsule(points, [(14, 54, 18), (-15, 56, 17)], 5.5),  # articular pillar
        capsule(points, [(2, 56, 15), (-7, 66, 2)], 3.8),  # lamina
        capsule(points, [(4, 52, 16), (3, 58, 38)], [4.2, 2.6]),  # transverse process
        capsule(points, [(-4, 65, 0), (-7, 86, 0)], [3.2, 3.8]),  # spinous process
        capsule(points, [(-12, 68, 0), (-14, 84, 0)], [2.6, 3.2]),
    ]
    processes = np.minimum.reduce(arch) + np.float32(0.4) * canvas.edge[window]
    cortical = hu["cortical"] * 0.8
    spongy = hu["trabecular"] * (1 + np.float32(0.09) * fine)
    lay = partial(canvas.paint, window=window)
    lay(soft_step(column + 1, soft), hu["disc"] + 4 * fine, "disc")
    thin = soft_step(column - plate, 1.5)  # end plates are less dense than the walls
    lay(soft_step(vertebra, soft), cortical * (1 - np.float32(0.55) * thin), "bone")
    lay(soft_step(vertebra + 1.3 - np.float32(0.6) * thin, soft), spongy, "bone")
    lay(soft_step(processes, soft), cortical + 100, "bone")
    lay(soft_step(processes + np.float32(1.9), soft), spongy + 120, "bone")
    canal = ellipsoid((flat, y, x), (0, 50.5, 0), (_FLAT, 7.8, 11))
    lay(soft_step(canal, soft), -30, "spinal canal")
    lay(soft_step(canal + np.float32(1.6), soft), hu["thecal_sac"], "spinal canal")
