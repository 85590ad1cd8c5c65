"""FDG uptake of normal organs about an hour after injection, as SUVbw [g/mL].

The values are rounded and set a realistic contrast between organs; they are not reference values.
Published means to compare with: cerebellum 8.0, palatine tonsils 3.5, sublingual glands 3.3, testes
2.6 (Wang et al., Mol Imaging Biol 9:83, 2007); parotid glands 1.9, vocal cords 1.8, tongue 1.4,
thyroid 1.3 (Nakamoto et al., Radiology 234:879, 2005); liver 1.9 +- 0.4 (Liu et al., Iran J Radiol
16(2):e84881, 2019). The other organs were set by eye.
"""

import numpy as np

# Median and relative spread between patients (log-normal).
_UPTAKE: dict[str, tuple[float, float]] = {
    "skin": (0.55, 0.10),
    "fat": (0.27, 0.15),
    "muscle": (0.76, 0.12),
    "blood": (1.55, 0.15),
    "lung": (0.38, 0.15),
    "liver": (2.15, 0.16),
    "spleen": (1.75, 0.15),
    "marrow": (1.45, 0.20),
    "kidney": (2.9, 0.20),
    "urine": (11.0, 0.40),
    "bladder": (19.0, 0.45),
    "stomach": (1.7, 0.30),
    "small bowel": (1.35, 0.25),
    "colon": (1.5, 0.40),
    "pancreas": (1.4, 0.15),
    "myocardium": (4.0, 0.75),
    "cortex": (8.8, 0.18),
    "cerebellum": (7.6, 0.20),
    "white matter": (2.6, 0.15),
    "tonsils": (3.2, 0.30),
    "salivary glands": (1.8, 0.25),
    "tongue": (1.4, 0.25),
    "cords": (1.9, 0.35),
    "thyroid": (1.2, 0.25),
    "testes": (2.6, 0.20),
    "uterus": (1.7, 0.30),
    "prostate": (1.4, 0.20),
    "breast": (0.75, 0.20),
}


def sample_uptake(rng: np.random.Generator) -> dict[str, float]:
    """Uptake of each organ of one patient [SUV]."""
    return {
        organ: float(median * np.exp(spread * np.clip(rng.normal(), -2, 2)))
        for organ, (median, spread) in _UPTAKE.items()
    }
