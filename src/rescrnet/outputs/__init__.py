"""Results of any size into files."""
