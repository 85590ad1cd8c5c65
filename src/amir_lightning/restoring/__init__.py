"""Scans in, restored scans out: weights, scratch volumes, slices, tiles and the loop over scans."""

from amir_lightning.restoring.run import Request, restore_all
from amir_lightning.restoring.weights import Weights, load_weights

__all__ = ["Request", "Weights", "load_weights", "restore_all"]
