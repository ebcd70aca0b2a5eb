"""The log of record in PostgreSQL and everything that is read from or written to it. Valkey only carries hints."""
