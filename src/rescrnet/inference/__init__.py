"""From image files to masks."""
