"""Which videos there are: annotation files, folders, prepared and published data sets."""
