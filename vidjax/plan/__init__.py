"""Planning and measuring: what an update costs on devices that are not at hand."""
