"""Networks: plain modules from tensors to tensors, without Lightning, configuration or tasks.

Each network has one file; shared layers are in `layers`. A network is imported when it is first
used, because some need MONAI, whose import takes seconds.

Dimension letters: B batch, C channels, H height, W width, N instructions, M experts, K chosen
experts, T tokens (pixels).
"""

from importlib import import_module
from typing import TYPE_CHECKING

from amir_lightning.networks.restoration_network import Report, RestorationNetwork

if TYPE_CHECKING:
    from amir_lightning.networks.airnet import AirNet
    from amir_lightning.networks.amir import AMIR
    from amir_lightning.networks.argan import ARGAN
    from amir_lightning.networks.ctformer import CTformer
    from amir_lightning.networks.dcnn import DCNN
    from amir_lightning.networks.drmc import DRMC
    from amir_lightning.networks.eformer import Eformer
    from amir_lightning.networks.promptir import PromptIR
    from amir_lightning.networks.redcnn import REDCNN
    from amir_lightning.networks.restore_rwkv import RestoreRWKV
    from amir_lightning.networks.restormer import Restormer
    from amir_lightning.networks.spach import SpachTransformer
    from amir_lightning.networks.srcnn import SRCNN
    from amir_lightning.networks.swinir import SwinIR
    from amir_lightning.networks.tat import TAT
    from amir_lightning.networks.vdsr import VDSR
    from amir_lightning.networks.xiang import AutoContextCNN

FILES = {
    "AMIR": "amir",
    "ARGAN": "argan",
    "AirNet": "airnet",
    "AutoContextCNN": "xiang",
    "CTformer": "ctformer",
    "DCNN": "dcnn",
    "DRMC": "drmc",
    "Eformer": "eformer",
    "PromptIR": "promptir",
    "REDCNN": "redcnn",
    "RestoreRWKV": "restore_rwkv",
    "Restormer": "restormer",
    "SRCNN": "srcnn",
    "SpachTransformer": "spach",
    "SwinIR": "swinir",
    "TAT": "tat",
    "VDSR": "vdsr",
}
"""Module of each network class."""

__all__ = [
    "AMIR",
    "ARGAN",
    "DCNN",
    "DRMC",
    "FILES",
    "REDCNN",
    "SRCNN",
    "TAT",
    "VDSR",
    "AirNet",
    "AutoContextCNN",
    "CTformer",
    "Eformer",
    "PromptIR",
    "Report",
    "RestorationNetwork",
    "RestoreRWKV",
    "Restormer",
    "SpachTransformer",
    "SwinIR",
]


def __getattr__(name: str) -> type[RestorationNetwork]:
    """Import a network when it is first used."""
    if name not in FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    network: type[RestorationNetwork] = getattr(import_module(f"{__name__}.{FILES[name]}"), name)
    return network
