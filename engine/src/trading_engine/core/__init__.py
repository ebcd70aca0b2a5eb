"""The pure core: books, matching, risk. It knows no clock, no randomness and no input or output."""
