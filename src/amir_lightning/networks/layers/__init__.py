"""Layers that networks are made of; each file is one idea of one paper."""
