"""Figures of the paper and beyond from run folders; one file a figure, each with ``draw``."""
