"""T2-weighted MRI of the head: skull, folded cortex, deep brain, and the signal of each tissue."""
