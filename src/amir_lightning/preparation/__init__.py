"""Raw scans to the prepared store of one task: look at all, then read, simulate, split, write."""

from amir_lightning.preparation.options import Options
from amir_lightning.preparation.run import prepare

__all__ = ["Options", "prepare"]
