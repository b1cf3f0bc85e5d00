"""A real cell on this machine for tests: `kato` commands go in, as a user types them; what stands comes out."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kato.drivers.runtime.resources.cgroups import sweep
from load import free_ports
from waiting import until

ROOT = Path(__file__).resolve().parent.parent
SLOW = 1.0 if os.environ.get("EXACT") else 10.0
"""What a promised figure is multiplied by: they share a machine, which may be slow. `make bench` is exact."""
WEB: dict[str, Any] = {
    "id": "/g/web",
    "cmd": "exec python3 -m http.server --bind 127.0.0.1 $PORT0",
    "cpus": 0.1,
    "mem": 32,
    "healthChecks": [{"protocol": "TCP", "portIndex": 0, "intervalSeconds": 1, "delaySeconds": 0.1}],
}
"""An app that serves, of a group `/g`."""
PATIENCE = 60.0
"""Seconds that a test waits for what must come to be, if nothing else is promised: far more than it takes."""


def counts(machine: "Machine") -> dict[str, int]:
    """The votes of the example, as its page of results has them; none where it does not answer."""
    status, body = machine.site("results.localhost", "/counts")
    return dict(json.loads(body)) if status == 200 else {}


class Machine:
    """One cell in a folder of its own, on free ports, driven through the command line."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="kato-e2e-"))
        self.root.chmod(0o755)
        self.data = self.root / "data"
        api, ingress = free_ports(2)
        self.api, self.ingress = f"127.0.0.1:{api}", f"127.0.0.1:{ingress}"
        self._started: list[subprocess.Popen[bytes]] = []
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "KATO_API": self.api,
            "KATO_INGRESS": self.ingress,
            "KATO_DATA": str(self.data),
            "NO_COLOR": "1",
        }

    def line(self, *words: str) -> list[str]:
        """The command line of a program of this cell's; tests have it run in another network."""
        return [*words]

    def kato(self, *args: str, code: int | None = 0, timeout: float = 240) -> str:
        """One command to its end; its output. code: the exit code it must have, None for any."""
        done = subprocess.run(
            self.line("kato", *args),
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.root,
            check=False,
        )
        said = done.stdout + done.stderr
        assert code is None or done.returncode == code, (
            f"kato {' '.join(args)}: {done.returncode}\n{said}\n{self.log()}"
        )
        return said

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the cell in the foreground of a process of its own, and waits until it answers."""
        with (self.root / "serve.log").open("ab") as log:
            process = subprocess.Popen(
                self.line("kato", "serve"), env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        self._started.append(process)
        self.until(lambda: self.get("/ping") is not None)
        return process

    def log(self) -> str:
        """The end of what the cell has said."""
        logs = [path for path in (self.data / "cell.log", self.root / "serve.log") if path.exists()]
        return "\n".join("\n".join(path.read_text(errors="replace").splitlines()[-30:]) for path in logs)

    def get(self, path: str) -> Any:
        """GET of the API: its JSON, text where it is none, None where nothing answers."""
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """One request to the API. None where nothing answers or the answer is an error."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.api}{path}", data, {"Content-Type": "application/json"})
        request.method = method
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            error.close()
            return None
        except (OSError, http.client.HTTPException):  # the latter where an answer breaks off
            return None
        with suppress(ValueError):
            return json.loads(text)
        return text

    def site(self, host: str, path: str = "/", form: dict[str, str] | None = None) -> tuple[int, str]:
        """One request to a site behind the balancer: status and body; 0 where nothing answers."""
        data = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(f"http://{self.ingress}{path}", data, {"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)

    def up(self, compose: str, *, code: int = 0, timeout: float = 200) -> str:
        """Deploys a Compose file; what that said."""
        file = self.root / "compose.yaml"
        file.write_text(compose)
        return self.kato("up", "-d", "--timeout", str(timeout), str(file), code=code)

    def deploy(self, app: dict[str, object]) -> set[str]:
        """Puts an app of one task, and waits until it runs."""
        id = str(app["id"])
        assert self.ask("PUT", f"/v2/apps{id}", app)
        self.until(lambda: len(self.running(id)) == 1 and not self.get("/v2/deployments"))
        return self.running(id)

    def running(self, app: str) -> set[str]:
        """The tasks of an app that run."""
        return {task["id"] for task in self.tasks(app) if task["state"] == "TASK_RUNNING"}

    def stop(self) -> None:
        """Ends the cell; its tasks go on."""
        self.ask("POST", "/v1/stop")
        self.until(lambda: self.get("/ping") is None and not any(map(_serves, self.processes())))

    def tasks(self, app: str | None = None) -> list[dict[str, Any]]:
        """Marathon's tasks, of one app or of all."""
        found = self.get("/v2/tasks") or {"tasks": []}
        return [task for task in found["tasks"] if app in (None, task["appId"])]

    def healthy(self, app: str) -> int:
        """How many tasks of an app pass all checks."""
        checked = [
            task.get("healthCheckResults", []) for task in self.tasks(app) if task["state"] == "TASK_RUNNING"
        ]
        return sum(all(result["alive"] for result in results) and bool(results) for results in checked)

    def pid(self, task: str) -> int:
        """The process of a task, as its keeper wrote it down."""
        started = json.loads((self.data / "tasks" / task / "started").read_text())
        return int(started["pid"])

    def until(self, holds: Callable[[], bool], seconds: float = PATIENCE) -> float:
        """Waits until something holds; how long it took."""
        return until(holds, seconds, self.log, 0.01)

    def close(self) -> None:
        """Ends everything of this cell, whatever state a test left it in."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            if self.processes():
                if self.get("/ping") is None:
                    self.start()
                self.kato("down", "--all", code=None)
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.wait()
        shutil.rmtree(self.root, ignore_errors=True)
        sweep()

    def processes(self) -> list[int]:
        """Every process that lives in, or was told of, this cell's folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if str(self.data).encode() in words or os.readlink(entry / "cwd").startswith(str(self.data)):
                    found.append(int(entry.name))
        return found


def _serves(pid: int) -> bool:
    with suppress(OSError):
        return b"kato\0serve" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@contextmanager
def own_cell(**environ: str) -> Iterator[Machine]:
    """A cell that is ended whatever state a test left it in. environ: what its commands have besides."""
    machine = Machine()
    machine.env |= environ
    try:
        yield machine
    finally:
        machine.close()


@contextmanager
def running(compose: str) -> Iterator[Machine]:
    """A cell in which a Compose file is deployed."""
    with own_cell() as machine:
        machine.up(compose)
        yield machine
