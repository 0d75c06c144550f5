"""Planning: the cost of an update on devices that are not at hand."""
