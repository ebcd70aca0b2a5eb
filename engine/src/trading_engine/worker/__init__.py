"""The matcher: one leader by lease and epoch, everybody else shadows it."""
