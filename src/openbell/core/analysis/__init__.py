"""How a candidate is judged: pure functions from samples to verdicts."""
