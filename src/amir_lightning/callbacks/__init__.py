"""Callbacks of a training: checkpoints, averaged weights, progress, pictures and monitors."""

from amir_lightning.callbacks.averaging import WeightAverage
from amir_lightning.callbacks.checkpoints import KeepBest, KeepLast, Stopped
from amir_lightning.callbacks.interference_monitor import Interference
from amir_lightning.callbacks.progress import Progress
from amir_lightning.callbacks.routing_monitor import RoutingMonitor
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
