"""One CT patient: habitus, disease and the attenuation of each tissue."""

from dataclasses import dataclass

import numpy as np

from amir_lightning.phantoms.fields import Triple

NATIVE: dict[str, float] = {
    "gas": -970,
    "lung": -830,
    "fat": -106,
    "skin": 20,
    "muscle": 50,
    "fluid": 18,
    "bile": 8,
    "cyst": 6,
    "thecal_sac": 30,
    "disc": 85,
    "cartilage": 95,
    "cortical": 850,
    "trabecular": 190,
    "calcification": 700,
    "liver": 56,
    "metastasis": 38,
    "spleen": 48,
    "cortex": 34,
    "medulla": 34,
    "pancreas": 42,
    "gut": 38,
    "blood": 42,
}
"""Attenuation before contrast [HU].

Rounded, within the range usual in the literature: it sets a realistic contrast, these are not
reference values. Soft tissues differ by several HU from scanner to scanner alone (Lamba et al., AJR
203:1013, 2014). Trabecular bone falls with age in `Patient.draw`; as measured in L1 it falls from
226 HU below 30 to 89 HU above 90 years (Jang et al., Radiology 291:360, 2019), here less steeply.
"""

ENHANCEMENT: dict[str, float] = {
    "liver": 54,
    "metastasis": 18,
    "spleen": 72,
    "cortex": 150,
    "medulla": 134,
    "pancreas": 55,
    "gut": 50,
    "blood": 112,
    "muscle": 9,
}
"""What contrast adds in the portal venous phase, about 70 s after injection [HU].

Rounded, for realistic contrast. Published means at the peak of the liver: liver 59 to 63, spleen 73
to 82, aorta 117 to 125 HU (Goshima et al., "MDCT of the Liver and Hypervascular Hepatocellular
Carcinomas", AJR 2006). The other organs were set by eye.
"""


@dataclass(frozen=True)
class Patient:
    """One patient.

    Attributes:
        scale: Size relative to the standard patient along (z, y, x).
        shift: Where the standard frame's origin lies in the field of view (z, y, x) [mm].
        fat_mm: Thickness of the subcutaneous fat [mm].
        visceral_mm: Thickness of the fat around retroperitoneal organs [mm].
        muscularity: Thickness of muscles relative to the standard patient.
        infiltration: Share of fat in the back muscles.
        age: 0 young to 1 old: paler bone, calcified aorta.
        num_lesions: Focal liver lesions.
        hu: Attenuation of each tissue [HU].
    """

    scale: Triple
    shift: Triple
    fat_mm: float
    visceral_mm: float
    muscularity: float
    infiltration: float
    age: float
    num_lesions: int
    hu: dict[str, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Patient":
        """Draw a patient at random."""
        obesity = float(rng.beta(1.4, 2.0))
        age, frame = (float(value) for value in rng.uniform(0, 1, 2))
        sick = rng.uniform() < 0.65
        width = 0.92 + 0.12 * frame + 0.06 * obesity
        depth = 0.93 + 0.08 * frame + 0.10 * obesity
        fat_mm = 5 + 25 * obesity * rng.uniform(0.6, 1.0)
        phase = rng.normal(1, 0.09)
        hu = {
            name: native * (1 + rng.normal(0, 0.03)) + phase * ENHANCEMENT.get(name, 0)
            for name, native in NATIVE.items()
        }
        steatosis = max(0.0, rng.normal(6, 12)) * obesity
        hu["liver"] -= steatosis
        hu["metastasis"] = min(hu["metastasis"], hu["liver"] - 22)
        hu["trabecular"] *= 1.2 - 0.55 * age
        return cls(
            scale=(1.0, depth, width),
            shift=(rng.uniform(-9, 9), -6 - 0.3 * fat_mm + rng.normal(0, 2), rng.normal(0, 3)),
            fat_mm=fat_mm,
            visceral_mm=2 + 9 * obesity * rng.uniform(0.6, 1.2),
            muscularity=rng.uniform(0.85, 1.15) - 0.12 * age,
            infiltration=0.15 + 0.5 * age * rng.uniform(0.5, 1),
            age=age,
            num_lesions=int(rng.integers(1, 9)) if sick else 0,
            hu=hu,
        )
