"""Figures from run folders: one file for each, with a function ``draw``."""
