"""Run folders: what names them, and the one reader of what they hold."""
