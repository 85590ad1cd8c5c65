"""Scans in, restored scans out: weights, scratch volumes, slices, tiles and the loop over scans."""
