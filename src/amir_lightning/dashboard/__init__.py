"""Pages that compare runs: one HTML file made from run folders, and a workspace in W&B."""
