"""From what is stored in a mask to class indices."""
