"""Stomach, duodenum, small bowel and colon: walls, and what is inside them, in a supine patient.

Gas rises to the front, so each piece of bowel has a horizontal level: gas above, contents below.
"""

import numpy as np
from numpy.typing import ArrayLike

from amir_lightning.phantoms.abdomen.canvas import Canvas, Shape
from amir_lightning.phantoms.abdomen.patient import Patient
from amir_lightning.phantoms.fields import Array, lattice_noise, soft_step
from amir_lightning.phantoms.paths import smooth_path, vessel_tree


def draw_bowel(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Paint duodenum, stomach and colon."""
    clumps = lattice_noise(rng, canvas.grid, 5.0, octaves=2)
    _duodenum(canvas, patient, rng, clumps)
    _stomach(canvas, patient, rng, clumps)
    _colon(canvas, patient, rng, clumps)


def _hollow(
    canvas: Canvas, patient: Patient, organ: str, outside: Shape, wall_mm: float,
    contents: Array | float, level: float,
) -> None:  # fmt: skip
    """Paint a fat plane, the organ's wall, then contents below and gas above `level` [mm]."""
    hu, (window, distance) = patient.hu, outside
    canvas.fill(outside, hu["fat"], "fat", grow=0.5)
    canvas.fill(outside, hu["gut"], organ, grain=6)
    _, y, _ = canvas.at(window)
    gas = soft_step(y - np.float32(level), 0.8 * canvas.softness)
    inner = contents + gas * (hu["gas"] - contents)
    # Mucosal folds: the inner surface is less even than the outer one.
    uneven = canvas.edge[window] + np.float32(0.5) * canvas.fine[window]
    folds = np.float32(wall_mm) + np.float32(0.25 * wall_mm) * uneven
    canvas.fill(Shape(window, distance + folds), np.asarray(inner, np.float32), "bowel contents")


def draw_mesentery(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Paint vessels that fan out to the bowel; call it before the organs, which cover them."""
    for height in (-5, -20, -35, -50, -65, -80):
        for heading in ((-0.5, -0.5, 1), (-0.4, -1, 0.4), (-0.4, -0.7, -1)):
            start = (height, -20, rng.uniform(-14, 6))
            for piece in vessel_tree(rng, start, heading, 2.6, 30, 4):
                vessel = canvas.tube([piece.start, piece.end], piece.radii)
                canvas.fill(vessel, patient.hu["blood"], "vessels")


def draw_small_bowel(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    """Paint bowel loops in front of the great vessels, low in the belly and below the stomach."""
    hu, clumps = patient.hu, lattice_noise(rng, canvas.grid, 5.0, octaves=2)
    low = [((-85, -28), (-65, -35), (-55, 90), (-62, -26, 22), (50, 46, 105))] * 17
    high = [((-26, 14), (-38, -6), (35, 92), (-6, -14, 64), (26, 30, 36))] * 8
    for z, y, x, home, room in low + high:
        heading = rng.normal(0, 1, 3)
        nodes = [np.array([rng.uniform(*z), rng.uniform(*y), rng.uniform(*x)])]
        for _ in range(7):
            heading = 0.75 * heading + rng.normal(0, 0.8, 3) * (0.7, 1, 1)
            back = (np.array(home) - nodes[-1]) / room
            heading = heading / np.linalg.norm(heading) + 0.4 * back
            node = nodes[-1] + 22 * heading / np.linalg.norm(heading)
            node[1] = min(node[1], -40 + 0.5 * abs(node[2]))  # the retroperitoneum is behind
            nodes.append(node)
        path = smooth_path(nodes, 3)
        radius = rng.uniform(11, 16) * (1 + 0.1 * np.sin(1.9 * np.arange(len(path))))
        loop = canvas.tube(path, radius, 0.6)
        contents = hu["fluid"] + 12 + 9 * clumps[loop.window]
        level = path[:, 1].min() + rng.uniform(-16, 3)
        _hollow(canvas, patient, "small bowel", loop, 2.4, contents, level)


def _duodenum(canvas: Canvas, patient: Patient, rng: np.random.Generator, clumps: Array) -> None:
    path = [
        (4, -30, -36),
        (-6, -14, -43),
        (-38, -4, -43),
        (-54, -8, -26),
        (-54, -8, 4),
        (-38, -12, 28),
    ]
    tube = canvas.tube(smooth_path(path), rng.uniform(9.5, 12.5), 0.8)
    contents = patient.hu["fluid"] + 8 + 12 * clumps[tube.window]
    _hollow(canvas, patient, "duodenum", tube, 2.6, contents, rng.uniform(-45, -20))


def _stomach(canvas: Canvas, patient: Patient, rng: np.random.Generator, clumps: Array) -> None:
    """Paint the fundus under the left dome, body towards the front, antrum across the midline."""
    nodes = [(70, 2, 50), (52, -8, 56), (30, -32, 56), (10, -50, 42), (0, -54, 10), (2, -46, -18),
            (4, -32, -34)]  # fmt: skip
    path = smooth_path(np.asarray(nodes) + rng.normal(0, 2.5, (7, 3)))
    widths = np.array([28, 31, 27, 22, 18, 14, 8]) * rng.uniform(0.75, 1.08)
    width = np.interp(np.linspace(0, 6, len(path)), range(7), widths)
    stomach = canvas.tube(path, width, 1.0)
    fluid = rng.uniform() < 0.5  # water or food
    contents = patient.hu["fluid"] + 8 * clumps[stomach.window]
    if not fluid:
        food = np.clip(clumps[stomach.window] - 0.2, -1, 1)
        contents = contents + 20 + 24 * food - 140 * np.clip(food - 0.7, 0, None)
    _hollow(canvas, patient, "stomach", stomach, 4.5, contents, rng.uniform(-62, -30))


def _haustra(path: ArrayLike, radius: float, rng: np.random.Generator) -> Array:
    """Radius along the colon [mm]: it bulges between folds that are about 30 mm apart."""
    steps = np.linalg.norm(np.diff(np.asarray(path), axis=0, prepend=np.asarray(path)[:1]), axis=1)
    along = np.cumsum(steps) / rng.uniform(26, 34)
    return np.asarray(radius * (0.82 + 0.24 * np.abs(np.sin(np.pi * along))), np.float32)


def _colon(canvas: Canvas, patient: Patient, rng: np.random.Generator, clumps: Array) -> None:
    """Paint the colon in three parts: stool mixed with gas, or gas over fluid."""
    hu = patient.hu
    drop, lift = rng.uniform(-12, 10), rng.uniform(-5, 32)
    ascending = [(-95, 16, -96), (-74, 14, -95), (-62, 0, -88), (-58, -26, -80)]
    transverse = [(-58, -26, -80), (-60 + drop, -50, -64), (-56 + drop, -64, -30),
                  (-52 + drop, -66, 10), (-38 + drop / 2, -58, 52), (-8 + lift / 2, -42, 84),
                  (14 + lift, -16, 96)]  # fmt: skip
    descending = [
        (14 + lift, -16, 96),
        (8 + lift, 10, 104),
        (-20, 30, 106),
        (-60, 32, 103),
        (-95, 30, 102),
    ]
    for nodes, low, high in ((ascending, 19, 26), (transverse, 15, 22), (descending, 10, 17)):
        path = smooth_path(np.asarray(nodes) + rng.normal(0, 2, (len(nodes), 3)), 6)
        colon = canvas.tube(path, _haustra(path, rng.uniform(low, high), rng), 1.0)
        lumps = clumps[colon.window]
        if rng.uniform() < 0.6:  # stool: soft tissue density riddled with gas bubbles
            bubbles = np.clip((lumps - np.float32(0.8)) * 2, 0, 1)
            contents = hu["muscle"] - 10 + 30 * lumps + bubbles * (-650)
            level = path[:, 1].min() + rng.uniform(-25, -8)
        else:
            contents = hu["fluid"] + 10 + 10 * lumps
            level = float(np.median(path[:, 1])) + rng.uniform(-4, 10)
        _hollow(canvas, patient, "colon", colon, 2.6, contents, level)
