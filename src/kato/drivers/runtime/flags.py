"""Values of flags of `docker run`, as drivers of containers share them: text goes in, numbers and words come out.

Every function raises ValueError with what to write instead.
"""

import signal


def size(text: str) -> int:
    """Bytes of `64m`, `128mb`, `1g`, `512`, as `docker run` reads them.

    >>> size("128mb") == size("128M") == size("128MiB") == 128 << 20, size("512b")
    (True, 512)
    """
    units = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    number = text.rstrip("bBkKmMgGi")
    unit = text[len(number) :].lower().removesuffix("b").removesuffix("i")
    if unit not in units or not (number.isascii() and number.isdecimal()):
        raise ValueError("write a number with b, k, m or g, as 64m")
    return int(number) * units[unit]


def pull(value: str) -> str:
    """When an image is pulled."""
    if value not in ("always", "missing", "never"):
        raise ValueError("write always, missing or never")
    return value


def truth(value: str) -> bool:
    """A flag without a value is true."""
    if value.lower() not in ("", "true", "false", "1", "0"):
        raise ValueError("write true or false")
    return value.lower() in ("", "true", "1")


def signal_of(value: str) -> int:
    """The number of a signal: `SIGQUIT`, `quit`, `3`, `RTMIN+3`."""
    name, _, more = value.strip().upper().removeprefix("SIG").partition("+")
    number = int(name) if name.isdecimal() else getattr(signal, f"SIG{name}", None)
    if number is None or (more and not more.isdecimal()):
        raise ValueError("write a signal, as SIGQUIT")
    number = int(number) + int(more or 0)
    if not 0 < number <= signal.SIGRTMAX:
        raise ValueError("write a signal, as SIGQUIT")
    return number


def ulimit(value: str) -> tuple[str, int, int]:
    """Name, soft and hard limit of `nofile=1024:4096`."""
    name, _, limits = value.partition("=")
    soft, _, hard = limits.partition(":")
    if not name or not soft.lstrip("-").isdecimal() or not (hard or soft).lstrip("-").isdecimal():
        raise ValueError("write NAME=SOFT[:HARD], as nofile=1024:4096")
    return name, int(soft), int(hard or soft)
