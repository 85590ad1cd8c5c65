"""Command lines: Hydra, options as the shell passes them, user mistakes in one sentence."""

from amir_lightning.cli.app import command, explain
from amir_lightning.cli.composed import compose

__all__ = ["command", "compose", "explain"]
