"""Attacks on the program, and a campaign that repeats them: ``make attack``."""
