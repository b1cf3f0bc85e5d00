"""The systemd that starts services on this machine: words for systemctl go in, what it says comes out."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from kato.cli.upkeep.unit import folder_of
from kato.model.errors import Unavailable

NAME = "kato.service"
PATIENCE = 120.0
"""Seconds that systemd may take to do as it is told."""


class Service(NamedTuple):
    """The cell as a service: the machine's, or (user) one user's. folder: of units; runtime: of the manager."""

    user: bool
    folder: Path
    runtime: Path

    @property
    def path(self) -> Path:
        """The unit."""
        return self.folder / NAME

    @property
    def cell(self) -> Path | None:
        """The folder of the cell that the unit runs; None where there is no unit of ours."""
        try:
            return folder_of(self.path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            return None

    @property
    def pid(self) -> int:
        """The process of the cell; 0 where none runs."""
        said = self.ask("show", "--property=MainPID", "--value", NAME)
        return int(said) if said.isdecimal() else 0

    def said(self, lines: int) -> list[str]:
        """The last that the cell wrote, and systemd about it; nothing where the journal cannot be read."""
        command = ["journalctl", "--user" if self.user else "--system", "--output=cat", "--no-pager", "--quiet"]
        done = subprocess.run(
            [*command, f"--{'user-' if self.user else ''}unit={NAME}", f"--lines={lines}"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        return done.stdout.splitlines()

    def ask(self, *words: str) -> str:
        """What systemctl says. Unavailable where it could not do it."""
        command = ["systemctl", *(["--user"] if self.user else []), *words]
        environ = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime)} if self.user else None
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
        if done.returncode:
            raise Unavailable(f"{' '.join(command)} failed: {' '.join(done.stderr.split())}")
        return done.stdout.strip()


def service() -> Service | None:
    """The manager that this user may tell what to start; None where there is none (sd_booted(3))."""
    if os.geteuid() == 0:
        runtime = Path("/run/systemd/system")
        return Service(False, Path("/etc/systemd/system"), runtime) if runtime.is_dir() else None
    runtime = Path(f"/run/user/{os.geteuid()}")
    if not (runtime / "systemd" / "private").exists():
        return None
    return Service(True, Path("~/.config/systemd/user").expanduser(), runtime)


def service_of(folder: Path) -> Service | None:
    """The service that runs the cell in `folder`, if one does."""
    found = service()
    return found if found is not None and found.cell == folder else None
