"""Run folders: their names, records and data, and the jobs of a sweep."""
