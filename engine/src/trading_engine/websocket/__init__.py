"""The streaming service: books, trades and own orders, with numbers by which a client can resume."""
