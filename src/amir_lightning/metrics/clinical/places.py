"""Places inside a mask: rings around lesions, flat squares, and centres of discs."""

import numpy as np
from scipy import ndimage, special

from amir_lightning.metrics.clinical import Image, Mask, Place, Spacing


def signed_distance(mask: Mask, spacing_mm: Spacing) -> Image:
    """Distance of each pixel to the border of a mask in its slice, negative inside [mm].

    The border lies half-way between pixels; slices without the mask are infinitely far.

    Args:
        mask: Pixels of the region, (S, H, W).
        spacing_mm: Distance between rows and columns [mm].
    """
    found = np.full(mask.shape, np.inf)
    half = 0.5 * float(np.mean(spacing_mm))
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        outside, inside = (
            ndimage.distance_transform_edt(one, spacing_mm) for one in (~mask[index], mask[index])
        )
        found[index] = np.where(mask[index], half - inside, outside - half)
    return found


def border_distance(mask: Mask, spacing_mm: Spacing, smoothing: float) -> Image:
    """Distance to the border that a mask had before it was cut into pixels, negative inside [mm].

    A straight border that is blurred by a Gaussian is a normal distribution across, whose quantile
    is the distance to a fraction of a pixel. Farther than three times the blur, the distance to the
    nearest pixel of the border is added.

    Args:
        mask: Pixels of the region, (S, H, W).
        spacing_mm: Distance between rows and columns [mm].
        smoothing: Standard deviation of the Gaussian [pixels].
    """
    found = np.full(mask.shape, np.inf)
    pixel = float(np.mean(spacing_mm))
    sigma = smoothing * pixel
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        blur = ndimage.gaussian_filter(mask[index].astype(float), [sigma / d for d in spacing_mm])
        near = -sigma * special.ndtri(np.clip(blur, 1e-6, 1 - 1e-6))
        border = np.abs(near) <= 0.75 * pixel
        if not border.any():
            continue  # too small to have one
        away, at = ndimage.distance_transform_edt(~border, spacing_mm, return_indices=True)
        far = near[tuple(at)] + np.sign(near) * away
        found[index] = np.where(np.abs(near) <= 3 * sigma, near, far)
    return found


def ring(mask: Mask, allowed: Mask, inner_mm: float, outer_mm: float, spacing_mm: Spacing) -> Mask:
    """Pixels around a region, between two distances from its border, (S, H, W).

    Args:
        mask: Pixels of the region, (S, H, W).
        allowed: Pixels that may belong to the ring, such as the organ without its lesions.
        inner_mm: Gap between region and ring, which keeps blurred borders out [mm].
        outer_mm: Outer distance of the ring [mm].
        spacing_mm: Distance between rows and columns [mm].
    """
    distance = signed_distance(mask, spacing_mm)
    return allowed & ~mask & (distance >= inner_mm) & (distance <= outer_mm)


def disc(radius_mm: float, spacing_mm: Spacing) -> Image:
    """Share of each pixel that a disc around the middle pixel covers; odd sides."""
    parts = 16
    sides = [2 * int(radius_mm / step + 0.5) + 1 for step in spacing_mm]
    rows, columns = (
        (np.arange(side * parts) + 0.5 - side * parts / 2) * step / parts
        for side, step in zip(sides, spacing_mm, strict=True)
    )
    inside = np.hypot(rows[:, None], columns) <= radius_mm
    return inside.reshape(sides[0], parts, sides[1], parts).mean(axis=(1, 3))


def centres(
    allowed: Mask, clear_mm: float, apart_mm: float, spacing_mm: Spacing, most: int
) -> list[Place]:
    """Choose places, as far inside a mask as possible and apart from each other.

    Args:
        allowed: Mask, (S, H, W).
        clear_mm: Least distance to the border of the mask [mm].
        apart_mm: Least distance between places of a slice [mm].
        spacing_mm: Distance between rows and columns [mm].
        most: Largest number of places in each slice.

    Returns:
        Slice, row and column of each place.
    """
    found: list[Place] = []
    padded = np.pad(allowed, ((0, 0), (1, 1), (1, 1)))  # the border of the image is a border, too
    depth = -signed_distance(padded, spacing_mm)[:, 1:-1, 1:-1]
    rows, columns = (np.arange(n) * d for n, d in zip(allowed.shape[1:], spacing_mm, strict=True))
    for index, one in enumerate(depth):
        for _ in range(most):
            row, column = divmod(int(np.argmax(one)), one.shape[1])
            if not one[row, column] >= clear_mm:
                break
            found.append((index, row, column))
            away = np.hypot((rows - rows[row])[:, None], columns - columns[column])
            one[away < apart_mm] = -np.inf
    return found


def squares(allowed: Mask, side: int, roughness: Image, most: int) -> list[Place]:
    """Choose squares inside a mask that do not overlap, the flattest first.

    Args:
        allowed: Mask, (S, H, W).
        side: Side of a square [pixels].
        roughness: Image whose variance inside a square says how flat it is, (S, H, W).
        most: Largest number of squares in each slice.

    Returns:
        Slice, first row and first column of each square.
    """
    found: list[Place] = []
    for index in np.flatnonzero(allowed.any(axis=(1, 2))):
        if min(allowed.shape[1:]) < side:
            break
        full = _sums(allowed[index].astype(float), side) > side**2 - 0.5
        values = roughness[index] - float(roughness[index].mean())
        mean = _sums(values, side) / side**2
        cost = np.where(full, _sums(values**2, side) / side**2 - mean**2, np.inf)
        for _ in range(most):
            row, column = divmod(int(np.argmin(cost)), cost.shape[1])
            if not np.isfinite(cost[row, column]):
                break
            found.append((int(index), row, column))
            top, left = max(0, row - side + 1), max(0, column - side + 1)
            cost[top : row + side, left : column + side] = np.inf
    return found


def take(image: Image, places: list[Place], side: int) -> Image:
    """Cut squares out of a stack, (N, side, side)."""
    cut = [image[s, row : row + side, column : column + side] for s, row, column in places]
    return np.array(cut, dtype=np.float64).reshape(-1, side, side)


def _sums(image: Image, side: int) -> Image:
    """Sum of the square that begins at each pixel."""
    total = np.pad(image.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    last, first = slice(side, None), slice(None, -side)
    return total[last, last] - total[first, last] - total[last, first] + total[first, first]
