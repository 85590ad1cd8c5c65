"""Measures of image quality that a reader of scans asks for, as functions of arrays and masks.

``docs/clinical.md`` defines each of them and names its source. Images are stacks of slices
(S, H, W) in physical units. Slices of a stack may lie far apart, so neighbourhoods and distances
never leave a slice. Each module holds one kind of measure.
"""
