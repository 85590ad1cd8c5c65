"""Pictures of slices in each task's display window, as arrays and PNG files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from amir_lightning.tasks import Task

Pixels = NDArray[np.uint8]

_GAP = 4
_CAPTION = 18


def grey(image: NDArray[np.floating], window: tuple[float, float]) -> Pixels:
    """Physical values as RGB grey, black at the window's first value and white at its second.

    Args:
        image: Slice in physical units, (H, W).
        window: Display window, in either order.

    Returns:
        (H, W, 3) pixels.
    """
    black, white = window
    level = ((image - black) / (white - black)).clip(0, 1)
    return np.repeat((255 * level).round().astype(np.uint8)[..., None], 3, axis=-1)


def heat(error: NDArray[np.floating], largest: float) -> Pixels:
    """Absolute error as black-red-yellow-white pixels, (H, W, 3); white at `largest`."""
    level = 3 * (np.abs(error) / largest).clip(0, 1)[..., None]
    return (255 * (level - np.arange(3)).clip(0, 1)).round().astype(np.uint8)


def comparison(
    lq: NDArray[np.floating],
    restored: NDArray[np.floating],
    hq: NDArray[np.floating],
    task: Task,
    captions: tuple[str, str] = ("", ""),
) -> Pixels:
    """LQ | restored | HQ | absolute error of one slice, in the task's display window.

    Args:
        lq: Low-quality slice, (H, W), physical units.
        restored: Restored slice, (H, W).
        hq: High-quality slice, (H, W).
        task: Gives the windows.
        captions: Added to the titles of LQ and restored, for instance their PSNR.
    """
    window = task.display_window
    error = restored.clip(*task.score_range) - hq.clip(*task.score_range)  # what is scored
    return row(
        [
            *(grey(image, window) for image in (lq, restored, hq)),
            heat(error, task.error_window),
        ],
        [
            f"LQ {captions[0]}",
            f"restored {captions[1]}",
            "HQ",
            f"|error| 0..{task.error_window:g} {task.units}",
        ],
    )


def row(panels: Sequence[Pixels], titles: Sequence[str]) -> Pixels:
    """Panels side by side, bottom-aligned on black, each under its title."""
    height = _CAPTION + max(len(panel) for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + _GAP * (len(panels) - 1)
    canvas = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=11)
    left = 0
    for panel, title in zip(panels, titles, strict=True):
        canvas.paste(Image.fromarray(panel), (left, height - len(panel)))
        draw.text((left + 3, 2), title.strip(), fill="white", font=font)
        left += panel.shape[1] + _GAP
    return np.asarray(canvas)


def column(rows: Sequence[Pixels]) -> Pixels:
    """Rows below each other on black, left-aligned."""
    width = max(picture.shape[1] for picture in rows)
    padded = [
        np.pad(picture, ((0, _GAP), (0, width - picture.shape[1]), (0, 0))) for picture in rows
    ]
    return np.concatenate(padded)


def save(picture: Pixels, path: Path) -> Path:
    """Write a PNG file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path
