"""Load trained weights from a run, a checkpoint, an exported folder or a hub."""
