"""Time and disk that sweeps need: from finished runs, or from some steps of each network."""
