"""One file per family of networks, each ending in its table `VARIANTS`."""
