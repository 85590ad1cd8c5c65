"""DICOM: files to series to volumes in physical units, and derived series back to files."""
