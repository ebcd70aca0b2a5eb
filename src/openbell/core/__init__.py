"""The pure core: what to do next, decided from events. It knows no clock, no I/O, no randomness."""
