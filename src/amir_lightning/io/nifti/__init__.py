"""NIfTI-1 and NIfTI-2: volumes in physical units, read slice by slice and written."""
