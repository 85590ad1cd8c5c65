"""Trained weights from wherever they lie: a run, a checkpoint, an exported folder, a hub."""
