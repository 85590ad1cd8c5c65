"""A user's own folder: a module, and options for a task, a network with its size, a sweep."""

from pathlib import Path

from conftest import TINY_DATA

_NETWORK = """
from torch import Tensor, nn

from amir_lightning.networks import RestorationNetwork


class Small(RestorationNetwork):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1)
        )

    def restore(self, lq: Tensor) -> Tensor:
        return lq + self.layers(lq)


class Other(nn.Module):
    pass
"""
_FILES = {
    "my_networks.py": _NETWORK,
    "my/tasks/us.yaml": "defaults: [mri, _self_]\ntitle: Ultrasound\ndicom_modality: US\n",
    "my/network/small.yaml": "_target_: my_networks.Small\nwidth: 8\n",
    "my/network/size/small_demo.yaml": "width: 4\n",
    "my/experiment/mine.yaml": """\
# @package _global_
hydra:
  sweeper:
    params:
      task: us
      network: small
""",
}
OPTIONS = [option for option in TINY_DATA if not option.startswith(("tasks.ct", "tasks.pet"))]
OPTIONS += ["tasks.us.phantom.size=64", "tasks.us.phantom_slices=2"]
"""Tiny patients of mri and us, and a training of few steps."""


def write_own(folder: Path) -> None:
    """Write all of it: the module ``my_networks`` and the configuration folder ``my``."""
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
