"""Mirrors `openbell.adapters`."""
