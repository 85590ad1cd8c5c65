"""Clinical measures of restored scans, patient by patient: who is measured where, and by what.

The measures themselves are functions of arrays and masks in `amir_lightning.metrics.clinical`.
"""
