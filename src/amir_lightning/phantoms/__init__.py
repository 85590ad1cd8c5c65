"""Embedded patients: seeded, procedural anatomy of the three modalities in physical units.

Every phantom is a frozen dataclass that obeys one contract:

- ``Phantom(size, num_slices)``: pixels per transaxial side and transaxial slices; `check_size`
  refuses what is too small.
- ``sample(seed) -> Volume``: the noise-free truth, (Z, Y, X) float32 in the units of the modality
  ("a.u.", "HU" or "SUV"), canonical LPS: row 0 is anterior, column 0 is the patient's right and
  slice 0 is inferior; the affine is ``lps_affine(spacing_mm)``; the source names phantom and seed.
- The volume's ``labels`` name the organ and the lesion of each voxel, see `Labels`. A voxel belongs
  to what fills more than half of it, and to the last of those painted. A phantom of your own may
  leave them out.
- The field of view is fixed in millimetres and the anatomy is drawn in millimetres, so the same
  seed at another size is the same patient; at the same size it is the same volume, bit for bit.

What a scanner adds (noise, blurring, streaks) belongs to ``amir_lightning.degradation``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from amir_lightning.errors import InputError

if TYPE_CHECKING:
    from amir_lightning.phantoms.abdomen.phantom import Abdomen
    from amir_lightning.phantoms.body.phantom import Body
    from amir_lightning.phantoms.brain.phantom import Brain

__all__ = ["Abdomen", "Body", "Brain"]


def check_size(phantom: str, size: int, num_slices: int) -> None:
    """Refuse volumes on which no anatomy can be drawn.

    Raises:
        InputError: Fewer than 16 pixels per side, or no slice.
    """
    if size < 16 or num_slices < 1:
        raise InputError(
            f"phantom {phantom} has size={size} and num_slices={num_slices}, expected at least 16 "
            "and 1; type for instance tasks.<task>.phantom.size=64"
        )


def __getattr__(name: str) -> object:
    # Lazy (PEP 562), so that one phantom is imported without the others.
    if name in __all__:
        return getattr(import_module(f"{__name__}.{name.lower()}.phantom"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
