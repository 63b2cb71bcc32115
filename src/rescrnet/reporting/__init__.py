"""A run as one page to read and to send on."""
