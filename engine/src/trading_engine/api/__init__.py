"""The REST service: takes orders into the log and answers questions about them."""
