"""Looking at a data set before it is trained on."""
