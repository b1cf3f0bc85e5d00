"""Programs flow in; supervisor, plain HAProxy and small supervisors that run them flow out, if they are installed.

`make bench` puts supervisor into build/rivals; the others come from Debian. Each runs as its manual says, with no
setting that makes it slower.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from bench import probe
from bench.figures import ROOT
from kato.drivers.balancer import process as haproxy

ALONE: dict[str, Any] = {
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
    "start_new_session": True,
}
"""As a service is started, and as Káto starts HAProxy. Linux shares a busy processor between sessions: a rival in
the session of its load would stand against others differently, and be faster or slower by half for that alone.
"""
SERVER = [sys.executable, str(Path(__file__).with_name("server.py"))]


class Supervisor:
    """supervisord with one server a program; `programs` says on which port each listens."""

    remedy = "pip install supervisor (make bench does it where PyPI can be reached)"

    def __init__(self, folder: Path, programs: Mapping[str, int]) -> None:
        self.folder = folder
        self.programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        lines = ["[supervisord]", "nodaemon=true", "user=root" if os.geteuid() == 0 else ""]
        lines += [f"childlogdir={folder}", f"logfile={folder}/supervisord.log", f"pidfile={folder}/pid"]
        lines += [
            "[unix_http_server]",
            f"file={folder}/control",
            "[supervisorctl]",
            f"serverurl=unix://{folder}/control",
        ]
        lines += ["[rpcinterface:supervisor]"]
        lines += ["supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface"]
        for name, port in programs.items():
            lines += [f"[program:{name}]", f"command={' '.join(SERVER)}", "autorestart=true"]
            lines += [f"environment=PORT={port},NAME={name}"]
        (folder / "supervisord.conf").write_text("\n".join(lines) + "\n")

    @staticmethod
    def binary(name: str = "supervisord") -> str | None:
        """Where it is installed, if it is."""
        own = ROOT / "build" / "rivals" / "bin" / name
        return str(own) if own.exists() else shutil.which(name)

    @classmethod
    def version(cls) -> str:
        """Its name and version."""
        said = subprocess.run([cls.binary() or "", "-v"], capture_output=True, text=True, check=True).stdout
        return f"supervisor {said.strip()}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> "Supervisor":
        """Starts all, and returns when all answer."""
        words = [self.binary() or "", "-c", str(self.folder / "supervisord.conf")]
        self._process = subprocess.Popen(words, **ALONE)
        try:
            probe.until(lambda: all(self.answer(name) for name in self.programs))
        except TimeoutError:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def answer(self, name: str) -> str:
        """What a program answers, empty while it does not."""
        return probe.get(f"127.0.0.1:{self.programs[name]}")[1]

    def restart(self, name: str) -> None:
        """As one upgrades a program by hand; returns when supervisor says that it runs (after startsecs, 1 s)."""
        words = [self.binary("supervisorctl") or "", "-c", str(self.folder / "supervisord.conf"), "restart", name]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


class PlainHaproxy:
    """HAProxy without Káto: the same binary, the same words for retries and balancing, servers written by hand."""

    def __init__(self, folder: Path, port: int, servers: list[int], *, checks: bool = False) -> None:
        self.address = f"127.0.0.1:{port}"
        self._config = folder / f"plain-{port}.cfg"
        check = " check inter 1s fall 1 rise 1" if checks else ""
        lines = ["global", "    maxconn 10000", "    nbthread 2", "    no strict-limits", "    noreuseport"]
        lines += ["defaults", "    mode http", "    timeout connect 2s", "    timeout client 5m"]
        lines += ["    timeout server 5m", "    timeout http-keep-alive 10s", "    option forwardfor"]
        lines += ["    http-reuse safe", "    retries 3", "    option redispatch 1"]
        lines += ["    retry-on conn-failure empty-response", "    balance leastconn"]
        lines += ["frontend web", f"    bind {self.address}", "    default_backend all"]
        lines += ["    http-request disable-l7-retry unless { method GET }", "backend all"]
        lines += ["    option httpchk GET /"] if checks else []
        lines += [f"    server s{each} 127.0.0.1:{each}{check}" for each in servers]
        self._config.write_text("\n".join(lines) + "\n")

    def __enter__(self) -> "PlainHaproxy":
        words = [str(haproxy.binary()), "-db", "-f", str(self._config)]
        self._process = subprocess.Popen(words, **ALONE)
        try:
            probe.until(lambda: probe.get(self.address)[0] == 200)
        except TimeoutError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()


class Small:
    """A supervisor of one program in a folder: runit's runsv, s6's, daemontools'."""

    kinds: Mapping[str, str] = {"runsv": "runit", "s6-supervise": "s6", "supervise": "daemontools"}

    def __init__(self, folder: Path, kind: str) -> None:
        self._kind = kind
        self._service = folder
        self._service.mkdir()
        run = self._service / "run"
        run.write_text("#!/bin/sh\nexec sleep 1000\n")
        run.chmod(0o755)

    @classmethod
    def version(cls, kind: str) -> str:
        """Its package and version, as Debian says it."""
        package = cls.kinds[kind]
        words = ["dpkg-query", "-W", "-f=${Version}", package]
        said = (
            subprocess.run(words, capture_output=True, text=True, check=False).stdout
            if shutil.which(words[0])
            else ""
        )
        return f"{kind} ({package} {said})" if said else kind

    def __enter__(self) -> int:
        """Its process id, once its program runs."""
        words = [self._kind, str(self._service)]
        self._process = subprocess.Popen(words, **ALONE)
        probe.until(lambda: b"sleep" in self._command())
        return self._process.pid

    def _children(self) -> list[int]:
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def _command(self) -> bytes:
        with suppress(OSError, IndexError):
            return Path(f"/proc/{self._children()[0]}/cmdline").read_bytes()
        return b""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        children = self._children()
        self._process.kill()
        self._process.wait()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
