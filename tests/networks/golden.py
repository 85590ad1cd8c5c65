"""Weights, images and outputs that settle what TAT and Restore-RWKV compute.

Weights are drawn by name, so that a network of any size is the same for everybody. The outputs of
small networks were written by ``python tests/networks/golden.py`` when those of paper size were
equal to the releases', see `test_paper_size_gives_the_outputs_of_the_release`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amir_lightning.networks import TAT, RestorationNetwork, RestoreRWKV
from amir_lightning.networks.checkpoints import names

FOLDER = Path(__file__).parent / "golden"
SIZES = {"width": 4, "depths": (1, 2, 1, 1), "refinement_depth": 1}


def draw(shapes: Mapping[str, Sequence[int]], base: int) -> dict[str, Tensor]:
    """The k-th entry is drawn from the seed `base + k`, and scaled by what its name says it is."""
    drawn = {}
    for k, (name, shape) in enumerate(shapes.items()):
        values = np.random.RandomState(base + k).standard_normal(shape).astype(np.float32)
        last = name.rsplit(".", 1)[-1]
        one = last == "weight" and len(shape) == 1
        if one or last in ("gamma1", "gamma2", "temperature"):
            values = 1 + 0.1 * values
        elif "lambda" in name:
            values = 0.3 * values
        elif last not in ("alpha", "spatial_decay", "spatial_first"):
            values = values * (np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1)
        drawn[name] = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return drawn


def image(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).rand(*shape).astype(np.float32))


def small(kind: type[RestorationNetwork]) -> RestorationNetwork:
    """A small network with drawn weights; TAT with windows smaller than the second image."""
    if kind is TAT:
        rules, base, network = names.TAT, 3000, TAT(**SIZES, task_size=16, test_window=32)
    else:
        rules, base, network = names.RESTORE_RWKV, 2000, RestoreRWKV(**SIZES)
    own = network.state_dict()
    theirs = names.renamed(own, rules)
    drawn = draw({theirs[k]: own[k].shape for k in sorted(own, key=theirs.__getitem__)}, base)
    network.load_state_dict({name: drawn[theirs[name]] for name in own})
    return network.eval()


def outputs(kind: type[RestorationNetwork]) -> dict[str, Tensor]:
    network = small(kind)
    with torch.inference_mode():
        return {"y1": network(image(1, 2, 1, 24, 32)), "y2": network(image(2, 1, 1, 40, 56))}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for kind, name in ((TAT, "tat"), (RestoreRWKV, "restore_rwkv")):
        found = {key: value.numpy() for key, value in outputs(kind).items()}
        np.savez_compressed(FOLDER / f"{name}.npz", **found)
