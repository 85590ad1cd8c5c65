"""Contrast-enhanced CT of the upper abdomen: patient, trunk, organs, bowel, on one canvas."""
