"""What every command shares: Hydra, options as the shell gives them, mistakes as one sentence."""

from amir_lightning.cli.app import command, compose, explain

__all__ = ["command", "compose", "explain"]
