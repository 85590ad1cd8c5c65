"""Measures of image quality that a reader of scans asks for, as functions of arrays and masks.

``docs/clinical.md`` defines each of them and names its source. Images are stacks of slices
(S, H, W) in physical units. Slices of a stack may lie far apart, so neighbourhoods and distances
never leave a slice. Each module holds one kind of measure.
"""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating]
"""Values in physical units."""

Mask = NDArray[np.bool_]
"""Whether each pixel belongs to a region."""

Spacing = tuple[float, float]
"""Distance between rows and columns [mm]."""

Place = tuple[int, int, int]
"""Slice, row and column."""
