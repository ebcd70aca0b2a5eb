"""Hosts carry out the commands of the core, one module per way of running it."""
