"""From classes to objects: numbered, measured, written for other programs."""
