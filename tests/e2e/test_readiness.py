"""Readiness of real tasks: what they answered to their check is told, where their app asks for it."""

import json

from machine import Machine

SERVER = """
import http.server, os, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        ready = pathlib.Path("ready").exists()
        body = ("warm" if ready else "warming the cache: 3 of 9").encode()
        self.send_response(200 if ready else 503)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\\r\\n%s\\r\\n0\\r\\n\\r\\n" % (len(body), body))
    def log_message(self, *_): ...
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT0"])), Handler).serve_forever()
"""


def results(machine: Machine, app: str) -> list[dict[str, object]]:
    found = machine.get(f"/v2/apps{app}?embed=app.readiness")
    return list(found["app"]["readinessCheckResults"])


def test_the_last_answer_to_a_readiness_check_is_told_where_that_is_asked(machine: Machine) -> None:
    (machine.root / "server.py").write_text(SERVER)
    check = {"name": "cache", "portName": "http", "path": "/ready?x=1", "intervalSeconds": 4, "timeoutSeconds": 3}
    base = {
        "cmd": f"exec python3 {machine.root}/server.py",
        "cpus": 0.1,
        "mem": 32,
        "portDefinitions": [{"port": 0, "name": "http"}],
    }
    kept = {**base, "id": "/g/kept", "readinessChecks": [{**check, "preserveLastResponse": True}]}
    other = {**base, "id": "/g/other", "readinessChecks": [check]}
    machine.start()
    machine.ask("PUT", "/v2/groups/g", {"id": "/g", "apps": [kept, other]})
    machine.until(lambda: "lastResponse" in (results(machine, "/g/kept") or [{}])[0])
    (task,) = machine.tasks("/g/kept")
    answer = {"status": 503, "contentType": "text/plain", "body": "warming the cache: 3 of 9"}
    expected = {"name": "cache", "taskId": task["id"], "ready": False, "lastResponse": answer}
    machine.until(lambda: results(machine, "/g/kept") == [expected])
    (other_task,) = machine.tasks("/g/other")
    told_less = [{"name": "cache", "taskId": other_task["id"], "ready": False}]
    machine.until(lambda: results(machine, "/g/other") == told_less)
    (deployment,) = machine.get("/v2/deployments")
    told = {each["app"]: each["readinessCheckResults"] for each in deployment["currentActions"]}
    assert told["/g/kept"] == [expected]
    for each in (task, other_task):
        (machine.data / "tasks" / each["id"] / "sandbox" / "ready").touch()
    machine.until(lambda: machine.get("/v2/deployments") == [])
    ready = {
        **expected,
        "ready": True,
        "lastResponse": {"status": 200, "contentType": "text/plain", "body": "warm"},
    }
    assert json.dumps(results(machine, "/g/kept")) == json.dumps([ready])
