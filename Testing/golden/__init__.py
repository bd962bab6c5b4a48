"""Independent references that the network's equations are checked against."""
