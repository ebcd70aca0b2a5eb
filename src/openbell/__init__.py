"""Openbell takes a trading engine from commit to production and back, without losing an order."""

__version__ = "0.1.0"
