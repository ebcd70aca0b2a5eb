"""What all four services share: the operational endpoints, metrics, draining, start and stop."""
