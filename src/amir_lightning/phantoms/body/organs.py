"""Organs of chest, abdomen and pelvis of the whole-body phantom."""

from functools import partial
from itertools import pairwise

import numpy as np

from amir_lightning.phantoms import fields
from amir_lightning.phantoms.body.canvas import Canvas
from amir_lightning.phantoms.body.shapes import both, profile, ramp
from amir_lightning.phantoms.body.skeleton import cage
from amir_lightning.phantoms.fields import Array, Points, Triple
from amir_lightning.phantoms.paths import smooth_path

_HEART_AXIS = np.array([-0.42, -0.60, 0.68], np.float32)  # base to apex: down, front, left


def diaphragm(points: Points) -> Array:
    """Height of the two domes above each point [mm]: lungs above, liver and spleen below."""
    _, y, x = points
    right = ramp(x + 72, (-222, 0, 222), (-3, 0, 2))  # flatter below the heart
    left = ramp(x - 74, (-222, 0, 222), (-2, 0, 3))
    dome = fields.smooth_min(48 * right**2 - 408, 48 * left**2 - 394, 14)
    fall = 55 * np.clip((y + 5) / 80, 0, None) ** 2 + 22 * np.clip(-(y + 5) / 80, 0, 2) ** 2
    return np.asarray(-dome - fall, np.float32)


def draw_chest(
    rng: np.random.Generator, canvas: Canvas, uptake: dict[str, float], female: bool
) -> None:
    """Paint lungs, mediastinum with the great vessels, heart, airways and breasts."""
    blood, lung = uptake["blood"], uptake["lung"]
    region = canvas.region((290, -110, -155), (620, 110, 155))
    z, y, x = region.points
    inside = cage(region.points)
    region.paint(both(inside, 400 - z), 0.55 * blood + 0.2 * region.fine, "mediastinum")
    half = profile(z, (400, 460, 520, 560, 610), (34, 34, 30, 26, 26))
    between = half * ramp(y, (-90, -60, -20, 30, 60), (0.35, 0.6, 1, 0.95, 0.9)) - np.abs(x - 4)
    floor = (diaphragm(region.points) - z) * np.float32(0.75)  # its slope, to make a distance
    lungs = both(inside + 1, between, floor, fillet_mm=10)
    gravity = 1 + np.float32(0.004) * y  # more blood and less air in the dependent lung
    vessels = np.exp(np.clip(between, -80, 0) / 22) * np.exp(-(((z - 480) / 60) ** 2))
    branches = np.exp(-(region.fine**2) / np.float32(0.15)) * vessels * np.float32(0.6)
    air = lung * gravity * (1 + np.float32(0.1) * region.fine)
    region.paint(lungs, air + branches, "lung")
    _vessels(canvas, blood)
    _heart(canvas, uptake, float(rng.uniform(-0.25, 0.25)))
    canvas.tube([(650, -22, 0), (560, -2, 0), (508, 12, 2)], 8, 0.12, "airways")
    canvas.tube([(640, 22, 5), (520, 34, 8), (385, 22, 18)], 7, 0.9 * blood, "oesophagus")
    for side in (-1, 1):
        canvas.tube([(508, 12, 2), (482, 16, 38 * side)], [7, 5], 0.15, "airways")
        if female:
            breast = uptake["breast"]
            canvas.ellipsoid((458, -104, 72 * side), (26, 20, 30), breast, "breast", texture=0.3)


def _vessels(canvas: Canvas, blood: float) -> None:
    arch: list[Triple] = [(455, -18, -4), (505, -30, -16), (532, -12, 0), (532, 14, 16)]
    aorta: list[Triple] = [*arch, (512, 32, 24), (430, 34, 24), (340, 24, 12), (212, 8, 4)]
    canvas.tube(aorta, [14, 15, 14, 13, 12, 11.5, 10.5, 9], blood, "aorta")
    lay = partial(canvas.tube, value=blood, organ="vessels")
    lay([(585, -14, -14), (470, -14, -30), (430, -8, -30)], [8, 10, 12])
    cava: list[Triple] = [(425, 0, -26), (340, 16, -22), (212, 14, -16)]
    canvas.tube(cava, [12, 11, 10], 0.95 * blood, "vessels")
    lay([(462, -32, 22), (498, -18, 14), (498, 4, -10), (472, 8, -44)], [14, 12, 10, 7])
    lay([(502, -14, 14), (500, 16, 32), (476, 24, 46)], [11, 9, 6])
    for side in (-1, 1):
        lay([(535, -8, 8 * side), (620, -8, 20 * side), (715, -2, 30 * side)], 4.5)
        lay([(575, -20, 12 * side), (640, -10, 30 * side), (715, 2, 36 * side)], 5)
        lay([(575, -18, 14 * side), (588, -12, 70 * side), (552, -4, 128 * side)], 5)
        groin: Triple = (58, -42, 72 * side)
        lay([(212, 10, 0), (140, 18, 42 * side), groin, (-200, -30, 72 * side)], 6)


def _heart(canvas: Canvas, uptake: dict[str, float], tilt: float) -> None:
    """Paint the left ventricle as a horseshoe open at the base, in a heart full of blood."""
    blood, wall = uptake["blood"], uptake["myocardium"]
    canvas.ellipsoid((440, -26, 10), (52, 44, 54), blood, "heart", 0.05, (20, 25, 0))
    centre: Triple = (428.0, -32.0, 34.0)
    region = canvas.around([centre], 62)
    axis = _HEART_AXIS + np.array([tilt, -tilt / 2, 0], np.float32)
    axis = axis / np.linalg.norm(axis)
    away = fields.place(region.points, centre)
    along = sum(a * c for a, c in zip(axis, away, strict=True))
    across = np.sqrt(np.maximum(sum(a * a for a in away) - along**2, 0))
    outer = (np.sqrt((along / 48) ** 2 + (across / 34) ** 2) - 1) * 34
    inner = (np.sqrt(((along + 5) / 40) ** 2 + (across / 22.5) ** 2) - 1) * 22
    region.paint(outer, blood, "heart")
    myocardium = both(outer, -inner, -26 - along, fillet_mm=4)
    lateral = 1 + np.float32(0.005) * away[2] + np.float32(0.10) * region.fine
    region.paint(myocardium, wall * lateral, "myocardium")


def draw_abdomen(rng: np.random.Generator, canvas: Canvas, uptake: dict[str, float]) -> None:
    """Paint viscera from the diaphragm to the pelvic inlet."""
    region = canvas.region((60, -110, -150), (400, 110, 150))
    z, y, x = region.points
    wall = cage(region.points)
    below = (z - diaphragm(region.points)) * np.float32(0.75) + 4
    back = fields.ellipsoid((z * 0, y, x), (0, 72, 0), (1e3, 52, 58))
    cavity = both(wall, -back, below, 72 - z, fillet_mm=14)
    region.paint(cavity, (1.75 + 0.35 * region.coarse) * uptake["fat"], "visceral fat")
    for side in (-1, 1):
        psoas: list[Triple] = [(310, 42, 24 * side), (220, 32, 40 * side)]
        psoas += [(120, 2, 78 * side), (40, 0, 92 * side)]
        canvas.tube(psoas, [8, 19, 19, 10], 1.1 * uptake["muscle"], "muscle")
    _small_bowel(canvas, uptake)
    pancreas: list[Triple] = [(288, -8, -20), (292, -14, 20), (318, 14, 78)]
    canvas.tube(pancreas, [14, 10, 9], uptake["pancreas"], "pancreas")
    _stomach(rng, canvas, uptake["stomach"])
    _colon(rng, canvas, uptake["colon"])
    lobe, tip = float(rng.uniform(40, 66)), float(rng.uniform(-22, 10))
    edge = ramp(x, (-120, -85, -50, -20, 10, 45, 80), (252, 250, 272, 300, 318, 338, 372))
    longer = np.float32(tip) * np.clip(-x / 90, 0, 1)
    under = edge + longer + 0.3 * (y + 25) + 5 * region.coarse - z
    left = x - np.float32(lobe) + 0.6 * y
    liver = both(cavity + 2, under * np.float32(0.75), left * np.float32(0.85), fillet_mm=18)
    liver = both(liver, -fields.ellipsoid((z * 0, y, x), (0, 62, 2), (1e3, 40, 34)), fillet_mm=10)
    region.paint(liver, uptake["liver"] * (1 + np.float32(0.05) * region.fine), "liver")
    canvas.ellipsoid((278, -48, -58), (24, 15, 13), 0.7, "gallbladder", tilt=(0, 20, 0))
    spleen_size = float(rng.uniform(0.9, 1.15))
    radii = (52 * spleen_size, 40.0, 27 * spleen_size)
    spleen = fields.ellipsoid(region.points, (342, 44, 98), radii, fields.rotation(0, 18, -22))
    stomach = fields.ellipsoid(region.points, (352, -5, 66), (44, 42, 30))
    spleen = both(spleen, cavity + 2, -stomach, fillet_mm=5)
    region.paint(spleen, uptake["spleen"], "spleen")
    for side, top in ((-1, 272.0), (1, 288.0)):
        _kidney(rng, canvas, uptake, side, top + float(rng.normal(0, 6)))


def _small_bowel(canvas: Canvas, uptake: dict[str, float]) -> None:
    """Paint bowel loops.

    The zero level of a random field is a folded sheet, whose sections are serpentine bands.
    """
    region = canvas.region((85, -90, -105), (285, 50, 105))
    room = both(
        fields.ellipsoid(region.points, (184, -28, 4), (96, 54, 98), exponent=2.5),
        cage(region.points) + 5,
    )
    bands = 0.35 + np.float32(0.65) * np.exp(-(region.fine**2) / np.float32(0.5))
    inside = fields.soft_step(room, 14) * bands
    activity = uptake["small bowel"] * np.clip(0.75 + 0.4 * region.coarse, 0.35, 1.9)
    region.mix(inside, activity, "small bowel")


def _stomach(rng: np.random.Generator, canvas: Canvas, wall: float) -> None:
    path: list[Triple] = [(362, 12, 70), (326, -18, 78), (284, -44, 50)]
    path += [(272, -50, 8), (284, -38, -24)]
    region = canvas.around(path, 40)
    distance = fields.capsule(region.points, path, [30, 27, 21, 16, 10]) + 4 * region.fine
    distance = both(distance, cage(region.points) + 3)
    activity = wall * np.clip(1 + 0.3 * region.coarse + 0.15 * region.fine, 0.4, 2)
    region.paint(distance, activity, "stomach")
    content = float(rng.choice([0.15, 0.5, 0.9]))
    region.paint(distance + 7 + 2 * region.coarse, content, "bowel contents")


def _colon(rng: np.random.Generator, canvas: Canvas, wall: float) -> None:
    sag = float(rng.uniform(150, 250))
    frame = [(140, -24, -76), (190, 0, -98), (252, 8, -104), (244, -40, -84), (sag, -66, -10)]
    frame += [(258, -48, 76), (312, 4, 106), (250, 22, 108), (180, 12, 98), (130, -8, 80)]
    frame += [(98, -22, 50), (118, -4, 18), (106, 34, -12), (80, 54, 2), (30, 46, 0)]
    radii = [26, 24, 22, 20, 19, 18, 18, 15, 14, 14, 13, 13, 14, 16, 12]
    activity = wall * np.exp(rng.normal(-0.25, 0.45, len(frame)))
    gas = rng.random(len(frame)) < 0.35
    path, at = smooth_path(frame, pieces=3), np.arange(len(frame))
    along = np.linspace(0, at[-1], len(path))
    width, hot = np.interp(along, at, radii), np.interp(along, at, activity)
    lumen = []
    for i, (a, b) in enumerate(pairwise(path)):
        region = canvas.around([tuple(a), tuple(b)], 30)
        distance = fields.capsule(region.points, [a, b], width[i : i + 2]) + 2.5 * region.fine
        distance = both(distance, cage(region.points) + 1)
        region.paint(distance, float(hot[i]) * (1 + np.float32(0.2) * region.fine), "colon")
        lumen.append((region, distance, 0.12 if gas[i // 3] else 0.45 + 0.3 * float(hot[i])))
    for region, distance, content in lumen:  # after all walls: no wall crosses the bowel
        region.paint(distance + 8, content, "bowel contents")


def _kidney(
    rng: np.random.Generator, canvas: Canvas, uptake: dict[str, float], side: int, height: float
) -> None:
    """Paint cortex, cooler sinus fat and hot urine in calyces and pelvis, then the ureter."""
    centre: Triple = (height, 44.0, 64.0 * side)
    region = canvas.around([centre], 64)
    turn = fields.rotation(-25 * side, -12 * side, -10)
    z, y, x = fields.place(region.points, centre, turn)
    organ = fields.ellipsoid((z, y, x), (0, 0, 0), (54, 24, 28)) + region.fine
    hilum = fields.ellipsoid((z, y, x), (0, -4, -26 * side), (20, 12, 16))
    organ = both(organ, -hilum, fillet_mm=5)
    region.paint(organ, uptake["kidney"] * (1 + np.float32(0.10) * region.fine), "kidney")
    urine = uptake["urine"] * float(rng.uniform(0.25, 1.0))
    core = fields.ellipsoid((z, y, x), (0, -2, -5 * side), (36, 13, 15))
    calyces = both(core, np.abs(region.fine - 0.2) * 9 - 4)
    region.paint(core, 0.75 * uptake["kidney"], "kidney")
    region.paint(calyces, urine, "urine")
    region.paint(fields.ellipsoid((z, y, x), (-6, -4, -18 * side), (14, 6, 9)), urine, "urine")
    path: list[Triple] = [(height - 16, 36, 44 * side), (220, 24, 40 * side), (180, 22, 38 * side)]
    path += [(140, 30, 46 * side), (105, 40, 50 * side), (78, 22, 26 * side)]
    for a, b in pairwise(path):
        if rng.random() < 0.35:
            canvas.tube([a, b], 2.6, urine * float(rng.uniform(0.3, 0.9)), "urine")


def draw_pelvis(
    rng: np.random.Generator, canvas: Canvas, uptake: dict[str, float], female: bool
) -> None:
    """Paint bladder and genital organs."""
    fill = float(rng.uniform(0.6, 1.15))
    if female:
        womb: Triple = (92.0, 6.0, float(rng.normal(0, 8)))
        canvas.ellipsoid(womb, (24, 20, 27), uptake["uterus"], "uterus", texture=0.12)
    else:
        canvas.ellipsoid((30, -8, 0), (15, 16, 20), uptake["prostate"], "prostate", texture=0.1)
        for side in (-1, 1):
            canvas.ellipsoid((-16, -66, 15 * side), (18, 12, 11), uptake["testes"], "testes")
    region = canvas.around([(58, -24, 0)], 60)
    radii = (26 * fill, 27 * fill, 38 * fill)
    bladder = fields.ellipsoid(region.points, (36 + 26 * fill, -24, 0), radii, exponent=2.3)
    bladder = bladder + region.fine + 2 * region.coarse
    region.paint(bladder - 4, 1.0, "bladder wall")
    region.paint(bladder, uptake["bladder"], "bladder")
