"""Observers of a run: they read what the module computed and never change the training."""

from amir_lightning.callbacks.averaging import WeightAverage
from amir_lightning.callbacks.interference import Interference
from amir_lightning.callbacks.keeping import KeepBest, KeepLast, Stopped
from amir_lightning.callbacks.progress import Progress
from amir_lightning.callbacks.routing import RoutingMonitor
from amir_lightning.callbacks.samples import SampleGrids

__all__ = [
    "Interference",
    "KeepBest",
    "KeepLast",
    "Progress",
    "RoutingMonitor",
    "SampleGrids",
    "Stopped",
    "WeightAverage",
]
