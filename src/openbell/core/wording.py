"""How times and messages are written for people; knows nothing of what they are about."""


def headline(text: str) -> str:
    """Take the first line: the log that a message may end with is told once, where it failed."""
    return text.partition("\n")[0]


def duration(seconds: float) -> str:
    """Write a duration as people do: `41 s`, `5:00`, `1:02:03`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 and seconds != whole else f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def milliseconds(value_ms: float) -> str:
    """Write a short time with two digits that count: `0.086 ms`, `120 ms`."""
    return f"{value_ms:.0f} ms" if value_ms >= 10 else f"{value_ms:.2g} ms"
