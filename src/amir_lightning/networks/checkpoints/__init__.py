"""Weights that others trained: reading their files and translating parameter names."""
