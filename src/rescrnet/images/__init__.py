"""Pixels in files: what an image holds, read by region. Knows no classes."""
