"""Restore scans: scratch volumes, slices, tiles, output and the loop over scans."""
