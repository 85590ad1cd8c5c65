"""Pages to compare runs on: one HTML file made from run folders, and a workspace for W&B."""
