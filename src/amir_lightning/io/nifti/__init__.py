"""Read NIfTI-1 and NIfTI-2 files slice by slice in physical units, and write them."""
