"""A cell's folder goes in; what it lets others in by comes out: its certificate, and the token that they show. For
who asks: the token that is shown, and whose certificates are believed.

A token is all that the cell's user may do. It is in no argument, no log and no answer.
"""

import base64
import hashlib
import hmac
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

import msgspec

from kato.config import Config
from kato.model.errors import InvalidInput

TOKEN, CERTIFICATE, KEY, AUTHORITY = "token", "server.pem", "server.key", "ca.pem"
SHORTEST = 20
"""Characters of a token at least: it is guessed at over a network."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks a cell. authorities: files of certificates that vouch for cells; None: those of the machine."""

    token: str | None = None
    authority: Path | None = None
    own: Path | None = None
    """The authority of the cell in this machine's folder, beside those of the machine."""

    def __repr__(self) -> str:  # else a traceback could show the token
        return f"Caller(token={'…' if self.token else None}, authority={self.authority})"

    def context(self) -> ssl.SSLContext:
        """What a server of elsewhere must prove. InvalidInput where the authority cannot be read."""
        try:
            context = ssl.create_default_context(cafile=self.authority)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                f"KATO_CA is {self.authority}, which is no file of certificates ({error.strerror or error}). "
                "Name a copy of access/ca.pem of the cell's folder."
            ) from error
        if self.authority is None and self.own is not None and os.access(self.own, os.R_OK):
            context.load_verify_locations(self.own)
        return context


def caller(config: Config, environ: Mapping[str, str] | None = None) -> Caller:
    """Who this user is to a cell: KATO_TOKEN or what is in KATO_TOKEN_FILE, and KATO_CA. InvalidInput."""
    env = os.environ if environ is None else environ
    token = env.get("KATO_TOKEN", "").strip() or None
    if token is None and (file := env.get("KATO_TOKEN_FILE")):
        token = read_token(Path(file), "KATO_TOKEN_FILE")
    if token is not None and not _is_word(token):
        raise InvalidInput(
            "KATO_TOKEN is no token, which is one word of ASCII letters. See: kato help environment"
        )
    authority = env.get("KATO_CA")
    return Caller(token, Path(authority) if authority else None, config.access / AUTHORITY)


def read_token(path: Path, what: str = "The token") -> str:
    """The token in a file. InvalidInput."""
    try:
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{what} cannot be read from {path}: {getattr(error, 'strerror', None) or 'it is no text'}."
        ) from error
    if len(token) < SHORTEST or not _is_word(token):
        raise InvalidInput(
            f"{what} in {path} is none: one word of {SHORTEST} characters or more. Make one: kato certify "
            "--new-token"
        )
    return token


def _is_word(token: str) -> bool:
    """Whether a header can carry it."""
    return token.isascii() and token.isprintable() and " " not in token


class Access:
    """What one cell lets others in by. context: of TLS; None where the cell speaks plain HTTP, on loopback."""

    def __init__(self, config: Config) -> None:
        self._folder = config.access
        self._token: bytes | None = None
        self._stamps: Mapping[str, object] = {}
        self._https = config.https
        self.context: ssl.SSLContext | None = None

    @classmethod
    def open(cls, config: Config) -> "Access":
        """Reads it. InvalidInput where the API is to speak TLS and what that takes is missing."""
        access = cls(config)
        lacking = [name for name in (CERTIFICATE, KEY, TOKEN) if not (config.access / name).exists()]
        if config.https and lacking:
            raise InvalidInput(_wanting(config))
        access.refresh_certificate()
        access.refresh_token()
        return access

    def refresh_token(self) -> bool:
        """Takes the token in the folder; whether it is another one.

        InvalidInput where it cannot be read: the former one stays in force.
        """
        stamp = _stamp(self._folder / TOKEN)
        if stamp == self._stamps.get(TOKEN):
            return False
        known = self._token
        self._token = _digest(read_token(self._folder / TOKEN)) if stamp else None
        self._stamps = {**self._stamps, TOKEN: stamp}
        return known is not None and known != self._token

    def refresh_certificate(self) -> None:
        """Takes the certificate in the folder for new connections. InvalidInput where it cannot be used: then the
        former one stays, in its own context, for one that was given a key of another certificate has none.
        """
        stamps = {name: _stamp(self._folder / name) for name in (CERTIFICATE, KEY)}
        if self._https and any(stamps[name] != self._stamps.get(name) for name in stamps):
            fresh = _serving()
            load(fresh, self._folder / CERTIFICATE, self._folder / KEY)
            self.context = fresh
            self._stamps = {**self._stamps, **stamps}

    @property
    def has_token(self) -> bool:
        """Whether there is a token that lets in."""
        return self._token is not None

    def right(self, authorization: str) -> bool:
        """Whether a header shows the token: as Bearer, or as the password of Basic, whoever is named with it."""
        kind, _, shown = authorization.strip().partition(" ")
        shown = shown.strip()
        if kind.lower() == "basic":
            try:
                shown = base64.b64decode(shown, validate=True).decode().partition(":")[2]
            except ValueError:  # no Base64, or no text in it
                return False
        elif kind.lower() != "bearer":
            return False
        return self._token is not None and hmac.compare_digest(_digest(shown), self._token)


def _serving() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could have us reckon without end
    context.set_alpn_protocols(["http/1.1"])
    return context


def load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Has a server prove itself by these files. InvalidInput where they cannot be used."""
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            f"{certificate} and {key} cannot be used: {error.strerror or error}. Make others: kato certify HOST, "
            "or name your own: kato certify --cert FILE --key FILE"
        ) from error


def _wanting(config: Config) -> str:
    host = config.api.rpartition(":")[0]
    every = host.strip("[]") in ("0.0.0.0", "::")
    data = f" --data {config.data}" if config.data != Path("/var/lib/kato") else ""
    return (
        f"The API cannot listen at {config.url}: it takes HTTPS and a token there, since whoever may ask may run "
        "programs, and there is no certificate and no token yet. Make them, for the name or address by which "
        f"others call this machine: kato certify {'HOST' if every else host.strip('[]')}{data}"
    )


def _stamp(path: Path) -> object:
    """Tells one content of a file from another; None where there is none. A link is what it leads to."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _no_password() -> str:
    raise InvalidInput("The key of the certificate asks for a password, which nobody could type after a boot.")
