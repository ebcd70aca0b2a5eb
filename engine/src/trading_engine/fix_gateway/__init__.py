"""FIX 4.4 sessions whose numbers and messages live in the database, so that any gateway can continue them."""
