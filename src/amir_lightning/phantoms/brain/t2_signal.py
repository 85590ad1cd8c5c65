"""Signal of the tissues of the head in a T2-weighted spin-echo scan."""

from collections.abc import Mapping

import numpy as np

# The T2-weighted scans of IXI at 3 T (brain-development.org, scanner parameters): TR 5725.79 ms.
REPETITION_TIME = 5726.0  # [ms]
ECHO_TIME = 100.0  # [ms]
CSF_SIGNAL = 2000.0  # [a.u.]

# T1 [ms], T2 [ms], proton density. CSF, grey, white and muscle are those of BrainWeb (Kwan, Evans,
# Pike, IEEE TMI 18:1085, 1999). The rest was set by eye for a realistic contrast and is no
# reference: T2 of the deep nuclei falls with their iron (Gelman et al., Radiology 210:759, 1999),
# fat is bright in a fast spin echo (Henkelman et al., JMRI 2:533, 1992), lesions lie between white
# matter and CSF, and the density of bone, marrow and flow voids is what is left of their signal.
TISSUES: dict[str, tuple[float, float, float]] = {
    "csf": (2569, 329, 1.0),
    "grey": (833, 83, 0.86),
    "white": (500, 70, 0.77),
    "striatum": (830, 79, 0.84),
    "thalamus": (750, 75, 0.82),
    "pallidum": (700, 62, 0.78),
    "brain stem": (600, 73, 0.8),
    "muscle": (900, 47, 1.0),
    "skin": (900, 75, 0.7),
    "fat": (350, 115, 1.0),
    "marrow": (400, 70, 0.5),
    "air": (500, 30, 0.0),
    "bone": (500, 30, 0.25),
    "flow": (1400, 40, 0.5),
    "vitreous": (2500, 280, 1.0),
    "plexus": (1200, 130, 0.95),
    "oedema": (1200, 125, 0.92),
    "tumour": (1300, 105, 0.9),
    "gliosis": (1000, 120, 0.88),
}


Signals = Mapping[str, np.float32]


def drawn_signals(spread: float, seed: int) -> Signals:
    """Signal of each tissue in the scan of one patient [a.u.].

    Protocols weight the tissues in other ways, so each signal is multiplied by a factor of its own.

    Args:
        spread: Standard deviation of the logarithm of the factors; 0 leaves the signals alone.
        seed: Seed of the patient.
    """
    rng = np.random.default_rng([0x72, seed])
    return {
        tissue: signal(tissue) * np.float32(np.exp(spread * rng.normal())) for tissue in TISSUES
    }


def signal(tissue: str) -> np.float32:
    """Spin-echo signal PD (1 - exp(-TR / T1)) exp(-TE / T2), scaled to `CSF_SIGNAL` [a.u.]."""
    return np.float32(CSF_SIGNAL * _spin_echo(*TISSUES[tissue]) / _spin_echo(*TISSUES["csf"]))


def _spin_echo(t1: float, t2: float, density: float) -> float:
    return density * (1 - np.exp(-REPETITION_TIME / t1)) * np.exp(-ECHO_TIME / t2)
