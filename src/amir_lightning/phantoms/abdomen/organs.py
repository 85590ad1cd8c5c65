"""Solid organs of the upper abdomen and the great vessels between them.

Positions are in the frame of a standard patient, (z, y, x) [mm]: z = 0 is the first lumbar
vertebra, y = 0 the middle between front and back, x > 0 the patient's left.
"""

import numpy as np

from amir_lightning.phantoms.abdomen.canvas import Canvas, Shape
from amir_lightning.phantoms.abdomen.patient import Patient
from amir_lightning.phantoms.fields import (
    Array,
    Triple,
    ellipsoid,
    smooth_max,
    smooth_min,
    soft_step,
)
from amir_lightning.phantoms.paths import smooth_path, vessel_tree


def draw_organs(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Paint liver, gallbladder, spleen, adrenals, kidneys and pancreas."""
    _liver(canvas, patient, rng)
    _gallbladder(canvas, patient, rng)
    _spleen(canvas, patient, rng)
    _adrenals(canvas, patient)
    for side in (-1, 1):
        _kidney(canvas, patient, rng, side)
    _pancreas(canvas, patient, rng)


def _liver(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Paint both lobes, moulded by the cavity, with vessels and lesions inside."""
    hu, size = patient.hu, rng.uniform(0.94, 1.08)
    window = canvas.frame.window((-60, -95, -140), (120, 85, 95))
    points = canvas.at(window)
    left = rng.uniform(72, 96)
    right_lobe = ellipsoid(points, (44, -4, -72), (88 * size, 86 * size, 76 * size))
    left_lobe = ellipsoid(points, (46, -52, 4), (46 * size, 36 * size, left))
    distance = smooth_min(right_lobe, left_lobe, 22)
    hollows = (
        ellipsoid(points, (-46, 2, 14), (64, 82, 68)),  # bowel and stomach below
        ellipsoid(points, (-70, 4, -94), (34, 44, 36)),  # right colic flexure
        ellipsoid(points, (40, 50, 48), (90, 62, 60)),  # spine, stomach and spleen behind
        ellipsoid(points, (6, -18, -30), (18, 10, 14)),  # porta hepatis
        ellipsoid(points, (4, -72, -6 + rng.normal(0, 5)), (26, 22, 2.2)),  # ligamentum teres
    )
    for hollow in hollows:
        distance = smooth_max(distance, -hollow, 9)
    edge = canvas.edge[window]
    wall = canvas.inside[window] + np.float32(0.8) * edge - np.float32(0.4)  # it touches the wall
    distance = np.maximum(distance + np.float32(0.9) * edge, wall)
    liver = Shape(window, distance)
    canvas.fill(liver, hu["liver"] + 3 * edge, "liver", grain=2.5)

    limit = np.full(canvas.grid.shape, 99, np.float32)
    limit[window] = distance + 1
    blood = hu["blood"]
    for root, heading, radius, length, levels in (
        ((12, -18, -34), (0.25, 0.25, -1), 5.0, 30, 6),  # portal vein, right branch
        ((14, -20, -32), (0.3, 0.55, -1), 4.2, 28, 6),
        ((14, -24, -26), (0.5, -0.9, 0.45), 4.6, 30, 6),  # and left branch
        ((70, 2, -27), (-0.35, 0.35, -1), 5.0, 36, 5),  # right, middle and left hepatic vein
        ((72, -4, -26), (-0.5, -0.75, -0.55), 4.8, 34, 5),
        ((74, -6, -22), (-0.35, -0.85, 0.5), 4.4, 32, 5),
    ):
        for piece in vessel_tree(rng, root, heading, radius, length, levels):
            vessel = canvas.tube([piece.start, piece.end], piece.radii)
            canvas.fill(vessel, blood, "vessels", within=limit)
    _lesions(canvas, patient, rng, limit)


def _lesions(canvas: Canvas, patient: Patient, rng: np.random.Generator, limit: Array) -> None:
    """Paint metastases (faint and ragged, with a paler rim) and cysts (dark and round)."""
    hu = patient.hu
    for _ in range(patient.num_lesions):
        azimuth, height, reach = (
            rng.uniform(0, 2 * np.pi),
            rng.uniform(-20, 75),
            rng.uniform(0, 0.85),
        )
        centre = (height, -5 + 66 * reach * np.sin(azimuth), -72 + 48 * reach * np.cos(azimuth))
        radius = float(np.clip(rng.lognormal(1.95, 0.45), 3.5, 19))
        radii = tuple(radius * rng.uniform(0.85, 1.15, 3))
        if rng.uniform() < 0.3:
            cyst = canvas.blob(centre, radii)
            canvas.fill_lesion(cyst, hu["cyst"], "cyst", hu["cyst"], grain=1, within=limit)
            continue
        tumour = canvas.blob(centre, radii, rough=0.16 * radius)
        core = soft_step(tumour.distance + np.float32(0.45 * radius), 0.35 * radius)
        rim, fall = hu["metastasis"] + rng.uniform(0, 16), rng.uniform(0, 24)
        nominal = rim - 0.2 * fall  # the core is a fifth of the volume
        canvas.fill_lesion(tumour, rim - fall * core, "metastasis", nominal, 3, limit)


def _gallbladder(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    if rng.uniform() < 0.15:  # removed
        return
    radius = rng.uniform(10, 16)
    path = smooth_path([(6, -22, -38), (-8, -38, -46), (-26, -54, -52)])
    sac = canvas.tube(path, np.linspace(0.45, 1, len(path)) * radius, 0.4)
    canvas.fill(sac, patient.hu["muscle"] + 20, "gallbladder wall", grow=1.6)
    canvas.fill(sac, patient.hu["bile"], "gallbladder", grain=1)
    if rng.uniform() < 0.15:  # a stone lies at the back
        stone = canvas.blob((-22, -52 + radius - 5, -50), (4, 3.5, 4.5), rough=0.4)
        canvas.fill(stone, 160 - 50 * soft_step(stone.distance + 2, 1.0), "gallstone")


def _spleen(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Paint a crescent along the left wall, whose veins gather at the hilum."""
    size = rng.uniform(0.85, 1.12)
    centre = (40 + rng.normal(0, 5), 34.0, 102.0)
    body = canvas.blob(centre, (50 * size, 52 * size, 42 * size), (-20, 0, 0), 1.2)
    hollow = ellipsoid(canvas.at(body.window), (32, 2, 52), (66, 44, 34))
    limit = canvas.inside[body.window] + 1
    distance = np.maximum(smooth_max(body.distance, -hollow, 8), limit)
    canvas.fill(Shape(body.window, distance), patient.hu["spleen"], "spleen", grain=3)
    for heading in ((0.4, 0.3, 1), (-0.3, 0.6, 1), (0.1, -0.5, 1)):
        for piece in vessel_tree(rng, (38, 20, 80), heading, 2.6, 14, 3):
            vessel = canvas.tube([piece.start, piece.end], piece.radii)
            canvas.fill(vessel, patient.hu["blood"], "vessels")


def _adrenals(canvas: Canvas, patient: Patient) -> None:
    for side, height in ((-1, 34), (1, 32)):
        for tail in ((-6, 44, 36 * side), (-6, 40, 45 * side)):
            end = (height + tail[0], tail[1], tail[2])
            limb = canvas.tube([(height, 26, 34 * side), end], [2.6, 1.6])
            canvas.fill(limb, patient.hu["gut"] + patient.hu["muscle"] / 2, "adrenal")


def _kidney(canvas: Canvas, patient: Patient, rng: np.random.Generator, side: int) -> None:
    """Paint cortex, pyramids and a fatty sinus that opens to the front and to the middle."""
    hu = patient.hu
    size = rng.uniform(0.92, 1.08)
    centre: Triple = (-20.0 if side < 0 else -6.0, 42.0, 64.0 * side)
    centre = (centre[0] + rng.normal(0, 7), centre[1], centre[2])
    turn = (38.0 * side, 8.0 * side, -8.0)
    kidney = canvas.blob(centre, (54 * size, 25 * size, 30 * size), turn, 0.6, 2.2)
    window = kidney.window
    around = (0.7 if side < 0 else 1.2) * patient.visceral_mm * (1 + 0.4 * canvas.edge[window])
    canvas.fill(Shape(window, kidney.distance - around), hu["fat"], "fat", grow=1.0, grain=5)

    # Unit vector to the hilum in the transaxial plane: forward and medial.
    forward, medial = -np.sin(np.radians(38)), -side * np.cos(np.radians(38))
    hilum = (centre[0], centre[1] + 24 * forward, centre[2] + 24 * medial)
    notch = ellipsoid(canvas.at(window), hilum, (15, 9, 11), None)
    surface = smooth_max(kidney.distance, -notch, 5)
    canvas.fill(Shape(window, surface), hu["cortex"], "kidney", grain=4)
    z, y, x = canvas.at(window)
    middle = (centre[0], centre[1] + 9 * forward, centre[2] + 9 * medial)
    angle = np.arctan2(y - middle[1], (x - middle[2]) * side)
    pyramids = np.cos(7 * angle + canvas.edge[window]) + 0.6 * np.cos((z - centre[0]) / 8)
    medulla = np.maximum(kidney.distance + np.float32(6), -2.5 * pyramids)
    canvas.fill(Shape(window, np.maximum(medulla, surface)), hu["medulla"], "kidney", grain=4)
    sinus = ellipsoid(canvas.at(window), middle, (27 * size, 7.5, 13 * size), None)
    sinus = smooth_min(sinus, notch, 6) + np.float32(1.8) * canvas.edge[window]
    vessels = soft_step(0.9 - canvas.edge[window], 0.3) + 0.2
    tissue = hu["fat"] + vessels * (hu["blood"] - hu["fat"])
    canvas.fill(Shape(window, sinus), tissue, "renal sinus")
    pelvis = canvas.blob((middle[0], middle[1], middle[2]), (9, 4.5, 6), turn)
    canvas.fill(pelvis, hu["fluid"], "renal pelvis")
    if rng.uniform() < 0.25:  # a simple cyst on the outer border
        radius = rng.uniform(4, 14)
        outer = (centre[0] + rng.uniform(-25, 25), centre[1] + 6, centre[2] + 22 * side)
        cyst = canvas.blob(outer, (radius, radius, radius))
        canvas.fill_lesion(cyst, hu["cyst"], "cyst", hu["cyst"], grain=1)


def _pancreas(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Paint head (in the duodenal loop), neck (before the portal vein), body and tail."""
    nodes = [
        (-26, -6, -26),
        (-8, -12, -25),
        (6, -25, -8),
        (14, -27, 12),
        (20, -16, 36),
        (27, 4, 62),
    ]
    path = smooth_path(np.asarray(nodes) + rng.normal(0, 2, (6, 3)))
    width = np.interp(np.linspace(0, 5, len(path)), range(6), [12, 13, 8.5, 10, 10, 8])
    gland = canvas.tube(path, width * rng.uniform(0.85, 1.1), 1.0)
    lobules = np.float32(1.6 + 1.2 * patient.age) * canvas.fine[gland.window]
    lobed = Shape(gland.window, gland.distance + lobules)
    canvas.fill(lobed, patient.hu["pancreas"], "pancreas", grain=8)


def draw_vessels(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Paint diaphragmatic crura, aorta with branches, inferior vena cava and portal system."""
    hu = patient.hu
    artery, vein = hu["blood"] + rng.normal(3, 6), hu["blood"] + rng.normal(0, 4)
    width = rng.uniform(8.5, 11) + 1.5 * patient.age

    def draw(
        path: list[Triple],
        radii: float | list[float],
        value: float,
        organ: str = "vessels",
        grow: float = 0,
    ) -> None:
        nodes, given = smooth_path(path), np.atleast_1d(radii)
        along, at = np.linspace(0, 1, len(nodes)), np.linspace(0, 1, len(given))
        tube = canvas.tube(nodes, np.interp(along, at, given))
        if grow:
            canvas.fill(tube, hu["fat"], "fat", grow=grow)
        canvas.fill(tube, value, organ)

    draw([(-10, 10, -10), (40, 8, -12), (90, 12, -10)], [2, 5, 6], hu["muscle"], "muscle")
    draw([(-5, 12, 16), (40, 14, 20), (90, 20, 24)], [2, 4, 5], hu["muscle"], "muscle")
    aorta: list[Triple] = [(-90, 4, 3), (-30, 1, 5), (25, 3, 7), (90, 16, 13)]
    draw(aorta, width, artery, "aorta", grow=0.8)
    for offset in (-4.0, 4.0):  # two tubes side by side: an oval lumen
        cava: list[Triple] = [(-90, 5, -20), (-20, 1, -22), (40, 1, -25), (90, -4, -26)]
        draw([(z, y, x + offset) for z, y, x in cava], [8.5, 9, 10, 11], vein, "vena cava")
    draw([(-90, -24, -14), (-40, -20, -12), (2, -14, -8)], [5, 5.5, 6.5], vein, grow=1)
    draw([(2, -14, -8), (8, -17, -24), (13, -18, -34)], [6.5, 6.5, 5.5], vein, grow=0.5)
    draw([(2, -14, -8), (10, -15, 14), (17, -4, 38), (28, 12, 64), (38, 20, 80)], 4, vein)
    draw([(6, -6, 6), (-6, -16, 5), (-40, -20, 2), (-90, -22, 2)], [4, 3.6, 3], artery, grow=3)
    draw([(20, -4, 7), (24, -15, 6), (26, -16, -10), (16, -24, -28)], [3.5, 3, 2], artery)
    draw([(24, -15, 6), (28, -14, 30), (32, 6, 62), (38, 20, 80)], [2.6, 2.2], artery)
    draw(
        [(-7, 30, 48), (-6, 18, 36), (-6, -2, 19), (-8, -10, 6), (-9, -3, -16)],
        [3, 3.6, 3.2, 4],
        vein,
    )
    draw([(-20, 30, -46), (-17, 14, -35), (-14, 4, -22)], 3.5, vein)
    for side in (-1, 1):
        draw([(-10, 4, 6), (-10, 18, 24 * side), (-12, 32, 46 * side)], 2.3, artery)
    for _ in range(int(14 * max(0.0, patient.age - 0.35))):  # plaques in the wall of the aorta
        height, angle = rng.uniform(-80, 60), rng.uniform(0, 2 * np.pi)
        y, x = (np.interp(height, [p[0] for p in aorta], [p[i] for p in aorta]) for i in (1, 2))
        y, x = y + width * np.sin(angle), x + width * np.cos(angle)
        turn = (float(np.degrees(angle)), 0.0, 0.0)
        plaque = canvas.blob((height, y, x), (rng.uniform(3, 9), rng.uniform(2, 5), 1.2), turn, 0.3)
        canvas.fill(plaque, hu["calcification"], "calcification")
