"""Tables of the paper from run folders: scores, their uncertainty, and the layout."""
