"""Outlines that other programs drew, and the masks that they mean."""
