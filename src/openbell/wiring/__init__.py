"""The wiring: the only place that knows everything. It gives hosts their adapters and the command line its verbs."""
