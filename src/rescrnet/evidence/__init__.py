"""How good a method is, and how sure that is: cross-validation, comparison, learning curves."""
