"""Procedural patient of contrast-enhanced abdominal CT, portal venous phase, in HU.

From the domes of the diaphragm to the lower lumbar spine: trunk, skeleton, solid organs with their
vessels and lesions, stomach and bowel. Attenuation comes from the table of `patient`;
habitus, position and size of organs, contrast phase and disease vary from patient to patient.
"""

from dataclasses import dataclass

import numpy as np

from amir_lightning.io.volume import Volume, lps_affine
from amir_lightning.phantoms import check_size
from amir_lightning.phantoms.abdomen.bowel import draw_bowel, draw_mesentery, draw_small_bowel
from amir_lightning.phantoms.abdomen.canvas import Canvas
from amir_lightning.phantoms.abdomen.organs import draw_organs, draw_vessels
from amir_lightning.phantoms.abdomen.patient import Patient
from amir_lightning.phantoms.abdomen.trunk import draw_skeleton, draw_table, draw_trunk
from amir_lightning.phantoms.fields import Grid

FIELD_MM = (150.0, 400.0, 400.0)  # z, y, x


@dataclass(frozen=True)
class Abdomen:
    """Embedded CT patients: noise-free upper abdomen.

    Attributes:
        size: Pixels per side of an axial slice; the field of view is 400 mm whatever the size.
        num_slices: Axial slices of a patient; together they cover 150 mm.

    Raises:
        InputError: The volume is too small, see `check_size`.
    """

    size: int = 512
    num_slices: int = 64

    def __post_init__(self) -> None:
        check_size("abdomen", self.size, self.num_slices)

    def sample(self, seed: int) -> Volume:
        """Draw the patient of a seed.

        Args:
            seed: Number of the patient; at another size it is the same patient.

        Returns:
            The noise-free truth, (Z, Y, X) [HU], with labels of organs and lesions.
        """
        grid = Grid.over(FIELD_MM, self.size, self.num_slices)
        # Separate streams: a change in one organ does not redraw the others.
        streams = np.random.SeedSequence([0xCA7, seed]).spawn(8)
        who, frame, trunk, organs, bowel, vessels, mesentery, loops = map(
            np.random.default_rng, streams
        )

        patient = Patient.draw(who)
        canvas = Canvas.blank(frame, grid, patient.scale, patient.shift)
        draw_table(canvas, patient)
        draw_trunk(canvas, patient, trunk)
        draw_mesentery(canvas, patient, mesentery)
        draw_small_bowel(canvas, patient, loops)
        draw_organs(canvas, patient, organs)
        draw_vessels(canvas, patient, vessels)
        draw_bowel(canvas, patient, bowel)
        draw_skeleton(canvas, patient, trunk)
        array = np.clip(np.rint(canvas.image), -1024, 3071).astype(np.float32)
        source, labels = f"phantom abdomen seed {seed}", canvas.masks.labels()
        return Volume(array, lps_affine(grid.spacing_mm), "HU", source, labels)
