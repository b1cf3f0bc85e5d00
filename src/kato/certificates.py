"""Names and addresses of a machine go in; what a cell lets others in by (access.py) stands in its folder: a
certificate, by an authority of the cell's own or by somebody else's, and a token. openssl makes the certificates.
"""

import fcntl
import os
import pwd
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

from kato.access import AUTHORITY, CERTIFICATE, KEY, TOKEN, load
from kato.config import is_host
from kato.model.errors import InvalidInput, Unavailable

AUTHORITY_KEY = "ca.key"
MAKING = ".making-"
AUTHORITY_DAYS, DAYS = 3650, 825
"""For how long each is valid. Some clients take no certificate of a server that is valid for longer."""
ALWAYS = ("localhost", "127.0.0.1", "::1")
"""What every certificate is for."""


@contextmanager
def room(folder: Path) -> Iterator[Path]:
    """The folder for all of it, in that of a cell, for one at a time; what one that was killed left is taken away.

    What root makes in another user's folder is that user's, and made as that user: it may lead elsewhere.
    """
    _become_owner(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for each in folder.glob(f"{MAKING}*"):
            shutil.rmtree(each, ignore_errors=True)
        for each in folder.glob(".*.new"):
            each.unlink()
        yield folder
    finally:
        os.close(descriptor)


def _become_owner(data: Path) -> None:
    """From now on, for good."""
    found = data.stat()
    if os.geteuid() == 0 and found.st_uid != 0:
        with suppress(KeyError):  # a user without a name has no other groups
            os.initgroups(pwd.getpwuid(found.st_uid).pw_name, found.st_gid)
        os.setgid(found.st_gid)
        os.setuid(found.st_uid)


def make_token(folder: Path) -> None:
    """Another token; the former one lets nobody in any more."""
    _write(folder / TOKEN, f"{secrets.token_urlsafe(32)}\n".encode())


def take(folder: Path, certificate: Path, key: Path) -> None:
    """The operator's own files, by links, so that a renewed one counts."""
    load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
    for name, path in ((CERTIFICATE, certificate), (KEY, key)):
        fresh = folder / f".{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(path)
        fresh.replace(folder / name)
    for name in (AUTHORITY, AUTHORITY_KEY):
        (folder / name).unlink(missing_ok=True)


def make(folder: Path, hosts: Sequence[str]) -> None:
    """A key and a certificate for the hosts, and an authority where there is none."""
    names = [_host(each) for each in hosts]
    if not names:
        raise InvalidInput(
            "Name what others call this machine, by name or address: kato certify kato.example 192.0.2.7"
        )
    if (folder / CERTIFICATE).is_symlink():
        raise InvalidInput(
            f"{folder}/{CERTIFICATE} is your own certificate, which a cell does not make. Name another one "
            f"(--cert, --key), or remove it first, to have the cell's: rm {folder}/{CERTIFICATE} {folder}/{KEY}"
        )
    if (folder / AUTHORITY).exists() and not (folder / AUTHORITY_KEY).exists():
        raise InvalidInput(
            f"{folder}/{AUTHORITY_KEY} is gone, without which no certificate can be made that clients believe who "
            f"have {AUTHORITY}. Put it back, or make another authority and tell them: rm {folder}/{AUTHORITY}"
        )
    words = ", ".join(dict.fromkeys(_alternative(each) for each in (*names, *ALWAYS)))
    with tempfile.TemporaryDirectory(dir=folder, prefix=MAKING) as room:
        made = Path(room)
        if not ((folder / AUTHORITY).exists() and (folder / AUTHORITY_KEY).exists()):
            _authority(made)
            _write(folder / AUTHORITY_KEY, (made / AUTHORITY_KEY).read_bytes())
            _write(folder / AUTHORITY, (made / AUTHORITY).read_bytes())
        (made / "ext").write_text(_EXTENSIONS.format(names=words))
        (made / "cnf").write_text(_REQUEST)
        _key(folder)
        _openssl("req", "-new", "-sha256", "-key", folder / KEY, "-out", made / "csr", "-config", made / "cnf")
        _openssl(
            *("x509", "-req", "-in", made / "csr", "-CA", folder / AUTHORITY, "-CAkey", folder / AUTHORITY_KEY),
            *("-set_serial", f"0x{secrets.token_hex(16)}", "-days", DAYS, "-sha256"),
            *("-extfile", made / "ext", "-out", made / CERTIFICATE),
        )
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), made / CERTIFICATE, folder / KEY)
        _write(folder / CERTIFICATE, (made / CERTIFICATE).read_bytes())


def _key(folder: Path) -> None:
    """The key stays where there is a good one: then a certificate is exchanged in one step, and whoever is killed
    leaves none without its key."""
    if not (folder / KEY).is_symlink() and _is_key(folder / KEY):
        return
    _write(folder / KEY, _openssl("genpkey", "-algorithm", "EC", *_CURVE).encode())


def _is_key(path: Path) -> bool:
    try:
        return bool(_openssl("pkey", "-in", path, "-passin", "pass:", "-noout", "-text_pub"))
    except Unavailable:
        return False


_CURVE = ("-pkeyopt", "ec_paramgen_curve:P-256")
_FRESH = ("-newkey", "ec", *_CURVE, "-nodes", "-sha256")
_REQUEST = "[req]\ndistinguished_name = who\nprompt = no\n[who]\nCN = kato\n"
_AUTHORITY = """[req]
distinguished_name = who
prompt = no
x509_extensions = ext
[who]
O = kato
CN = kato {mark}
[ext]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
_EXTENSIONS = """basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


def _authority(made: Path) -> None:
    (made / "ca.cnf").write_text(_AUTHORITY.format(mark=secrets.token_hex(4)))
    _openssl(
        *("req", "-x509", *_FRESH, "-days", AUTHORITY_DAYS, "-config", made / "ca.cnf"),
        *("-keyout", made / AUTHORITY_KEY, "-out", made / AUTHORITY),
    )


def _host(text: str) -> str:
    bare = text.strip("[]")
    if not is_host(f"[{bare}]" if ":" in bare else bare):
        raise InvalidInput(f"{text!r} is no name or address of a machine, such as kato.example or 192.0.2.7.")
    return bare


def _alternative(host: str) -> str:
    """A host as subjectAltName has it (x509v3_config(5))."""
    try:
        return f"IP:{ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"


def hosts_of(folder: Path) -> tuple[str, ...]:
    """What the present certificate is for, beside the names that every one has."""
    if not (folder / CERTIFICATE).exists():
        return ()
    said = _openssl("x509", "-in", folder / CERTIFICATE, "-noout", "-ext", "subjectAltName")
    found = [each.strip().partition(":") for each in said.replace("\n", ",").split(",")]
    names = [_plain(host) for kind, _, host in found if kind in ("DNS", "IP Address") and host]
    return tuple(each for each in names if each not in ALWAYS) or ("localhost",)


def _plain(host: str) -> str:
    """openssl writes an address of IPv6 in full."""
    return str(ip_address(host)) if ":" in host else host


def until(certificate: Path) -> str:
    """When it is valid no more, as openssl says it."""
    return _openssl("x509", "-in", certificate, "-noout", "-enddate").strip().partition("=")[2]


def days_left(certificate: Path) -> int:
    """For how many days it is valid yet; less than 0 where it is not any more."""
    return int((ssl.cert_time_to_seconds(until(certificate)) - time.time()) // 86400)


def _openssl(*words: object) -> str:
    """What openssl says. Unavailable where it is missing or could not do it."""
    program = shutil.which("openssl")
    if program is None:
        raise Unavailable(
            "There is no openssl, which makes the certificate: apt-get install openssl. Or name a certificate of "
            "your own: kato certify --cert FILE --key FILE"
        )
    done = subprocess.run(
        [program, *map(str, words)], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise Unavailable(f"openssl {words[0]} failed: {' '.join(done.stderr.split())}")
    return done.stdout


def _write(path: Path, content: bytes) -> None:
    """A file of one user, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
