"""What is told to tasks alone: a secret's name and an App go in; which secrets it names, and which nobody has set,
come out. A value is shown by nothing here, not even where a struct is printed.
"""

import re
from collections.abc import Container, Mapping

import msgspec

from kato.model.app import App, SecretRef

LARGEST = 500_000
"""Bytes of one value (Docker Swarm's limit for a secret)."""
_NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*(@[0-9a-f]+)?")
_LONGEST = 250


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A value that somebody has set. since: epoch seconds."""

    value: bytes
    since: float

    def __repr__(self) -> str:
        return f"Secret(since={self.since})"

    @property
    def text(self) -> str | None:
        """The value as a variable can hold it; None for what none can."""
        try:
            text = self.value.decode()
        except UnicodeDecodeError:
            return None
        return None if "\0" in text else text


def is_name(name: str) -> bool:
    """Whether a secret may be called so. After an '@' comes a mark of its value, where a file says what it is.

    >>> is_name("db/password"), is_name("shop/pw@1f"), is_name("../a b"), is_name("")
    (True, True, False, False)
    """
    parts = name.partition("@")[0].split("/")
    return len(name) <= _LONGEST and bool(_NAME.fullmatch(name)) and not {".", ".."} & set(parts)


def called(source: str) -> str:
    """What the secret is called that an app names as its source: Marathon's stores begin theirs with a slash.

    >>> called("/db/password")
    'db/password'
    """
    return source.strip("/")


def sources(app: App) -> frozenset[str]:
    """What the secrets are called that an app names."""
    return frozenset(called(each.source) for each in app.secrets.values())


def missing(app: App, known: Container[str]) -> tuple[str, ...]:
    """Those of them that nobody has set."""
    return tuple(sorted(each for each in sources(app) if each not in known)) if app.secrets else ()


def given(app: App, known: Mapping[str, Secret]) -> dict[str, Secret]:
    """The secrets of an app that somebody has set, by what the app calls them."""
    pairs = ((name, known.get(called(each.source))) for name, each in app.secrets.items())
    return {name: secret for name, secret in pairs if secret is not None}


def unfit(app: App, given: Mapping[str, Secret]) -> str | None:
    """Why a task cannot be started with these; None where it can."""
    for name, each in app.secrets.items():
        if name not in given:
            return f"Its secret {called(each.source)} is gone. Set it: kato secrets set {called(each.source)}"
    for variable, value in app.env.items():
        if isinstance(value, SecretRef) and given[value.secret].text is None:
            return (
                f"Its secret {called(app.secrets[value.secret].source)} is no text, which the variable {variable} "
                "cannot hold. Hand it over as a file: a volume with `secret`."
            )
    return None
