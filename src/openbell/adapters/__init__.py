"""One module per product that Openbell speaks to. Adapters do not know each other."""
