"""Files of weights that others trained: their parameter names and ours."""
