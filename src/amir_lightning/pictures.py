"""Pictures of slices as RGB arrays and PNG files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from amir_lightning.tasks import Task

Pixels = NDArray[np.uint8]

_GAP = 4
_CAPTION = 18
# Okabe and Ito's colours, which people with any colour vision can tell apart.
_EXPERTS = np.array(
    [(0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0)],
    dtype=np.uint8,
)


def grey(image: NDArray[np.floating], window: tuple[float, float]) -> Pixels:
    """Draw physical values in grey: the window's first value is black, its second one white.

    Args:
        image: Slice in physical units, (H, W).
        window: Display window; [5, 0] is inverse grey.

    Returns:
        Pixels, (H, W, 3).
    """
    black, white = window
    level = ((image - black) / (white - black)).clip(0, 1)
    return np.repeat((255 * level).round().astype(np.uint8)[..., None], 3, axis=-1)


def heat(error: NDArray[np.floating], largest: float) -> Pixels:
    """Draw absolute errors from black over red and yellow to white at `largest`, (H, W, 3)."""
    level = 3 * (np.abs(error) / largest).clip(0, 1)[..., None]
    return (255 * (level - np.arange(3)).clip(0, 1)).round().astype(np.uint8)


def outline(picture: Pixels, labels: NDArray[np.integer], colour: tuple[int, int, int]) -> Pixels:
    """A picture with the borders between labels in a colour.

    Args:
        picture: (H, W, 3) pixels.
        labels: Number of what each pixel belongs to, (H, W).
        colour: Red, green and blue.
    """
    border = np.zeros(labels.shape, bool)
    border[1:] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    return np.where(border[..., None], np.array(colour, np.uint8), picture)


def expert_map(gates: NDArray[np.floating], height: int, width: int, factor: int = 1) -> Pixels:
    """Colour each pixel by the expert with the largest gate, (H, W, 3).

    Args:
        gates: Gates of the experts, (H', W', M).
        height: Rows of the picture.
        width: Columns of the picture.
        factor: Pixels of the picture along each side of a token.
    """
    colours = _EXPERTS[gates.argmax(axis=-1) % len(_EXPERTS)]
    return colours.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]


def expert_legend(count: int) -> Pixels:
    """Draw the legend of `expert_map`: a colour and a number for each expert."""
    canvas = Image.new("RGB", (44, 18 * count))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=11)
    for expert in range(count):
        colour = tuple(int(part) for part in _EXPERTS[expert % len(_EXPERTS)])
        draw.rectangle((4, 18 * expert + 3, 16, 18 * expert + 15), fill=colour)
        draw.text((22, 18 * expert + 3), str(expert), fill="white", font=font)
    return np.asarray(canvas)


def comparison(
    lq: NDArray[np.floating],
    restored: NDArray[np.floating],
    hq: NDArray[np.floating],
    task: Task,
    captions: tuple[str, str] = ("", ""),
) -> Pixels:
    """Draw LQ | restored | HQ | absolute error of one slice, in the task's windows.

    Args:
        lq: Low-quality slice, (H, W), physical units.
        restored: Restored slice, (H, W).
        hq: High-quality slice, (H, W).
        task: Task of the slice.
        captions: Text behind the titles of LQ and restored, for instance their PSNR.
    """
    window = task.display_window
    error = restored.clip(*task.score_range) - hq.clip(*task.score_range)  # as in the scores
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
    """Place panels side by side, bottom-aligned on black, each below its title."""
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
    """Place pictures below each other, left-aligned on black."""
    width = max(picture.shape[1] for picture in rows)
    padded = [
        np.pad(picture, ((0, _GAP), (0, width - picture.shape[1]), (0, 0))) for picture in rows
    ]
    return np.concatenate(padded)


def save(picture: Pixels, path: Path) -> Path:
    """Write a PNG file, and make its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path
