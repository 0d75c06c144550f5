"""Families of networks, one file each, ending in its table `VARIANTS`."""
