"""Scores, from counts."""
