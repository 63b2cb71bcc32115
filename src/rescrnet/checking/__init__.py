"""Looks a dataset over before anything is trained on it, and says what is wrong in plain words."""
