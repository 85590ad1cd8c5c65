"""Tables of the paper from run folders: what was scored, how sure it is, and how it is laid out."""
