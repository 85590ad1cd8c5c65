"""Read DICOM series as volumes in physical units, and write derived series."""
