"""Families of networks, one module each, with a table `VARIANTS` at its end."""
