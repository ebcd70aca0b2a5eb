"""The trading engine: four services around one log of commands in PostgreSQL."""
