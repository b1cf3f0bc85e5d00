"""The worked example of docs/compose.md, as it stands there: a process with a volume, and a check of its port."""

import re

from load import free_ports
from machine import ROOT, Machine

(EXAMPLE,) = re.findall(r"^```yaml\n(name: notes\n.*?)^```", (ROOT / "docs/compose.md").read_text(), re.M | re.S)
STORE = """
import http.server, os, pathlib, sys
data = pathlib.Path(os.environ["DATA_DIR"])
with (data / "starts").open("a") as starts:
    starts.write("started\\n")
if HEALTHY:
    (data / "health").touch()
os.chdir(data)
address = ("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1]))
http.server.ThreadingHTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def deploy(machine: Machine, port: int, *, healthy: bool, code: int = 0) -> str:
    (machine.root / "store.py").write_text(STORE.replace("HEALTHY", str(healthy)))
    (machine.root / "compose.yaml").write_text(EXAMPLE.replace("8080:", f"{port}:"))
    return machine.kato("up", "-d", "--timeout", "200" if healthy else "3", code=code)


def test_the_example_with_a_volume_runs_as_it_stands(machine: Machine) -> None:
    (port,) = free_ports(1)
    said = deploy(machine, port, healthy=True)
    assert "compose.yaml:" not in said, "it is warned of nothing"
    machine.kato("restart", "store")
    (volume,) = machine.data.glob("volumes/*/starts")
    assert volume.read_text() == "started\n" * 2


def test_a_check_that_fails_says_what_it_wrote(machine: Machine) -> None:
    (port,) = free_ports(1)
    deploy(machine, port, healthy=False, code=1)
    words = "exited with status 22: curl: (22) The requested URL returned error: 404"
    machine.until(lambda: words in machine.kato("why", "store"))
