"""Spans of a real cell arrive at a real receiver of OTLP over HTTP, decoded by OpenTelemetry's own definitions."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from machine import WEB, Machine

MISSING = "OpenTelemetry is missing. Run: pip install -r requirements/otel.txt"


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Where it listens, and the spans that came."""
    try:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip(MISSING)
    spans: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                of = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    spans.extend(read(span) | {"of": of} for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", spans
    finally:
        server.shutdown()
        server.server_close()


def read(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "began": span.start_time_unix_nano / 1e9,
        "ended": span.end_time_unix_nano / 1e9,
        "failed": span.status.message if span.status.code == 2 else None,
        "events": [event.name for event in span.events],
        **{each.key: each.value.string_value or each.value.int_value for each in span.attributes},
    }


def test_a_wish_its_deployment_and_its_tasks_are_one_trace(machine: Machine) -> None:
    with receiver() as (where, spans):
        machine.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": where, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        file, before = machine.root / "g.json", time.time()
        file.write_text(json.dumps({"id": "/g", "apps": [{**WEB, "instances": 2}]}))
        machine.kato("up", str(file), "-d")
        machine.until(lambda: len(named(spans, "start")) == 2 and len(named(spans, "deployment")) == 1)
        (wish,) = named(spans, "PUT /v2/groups/g")
        (deployment,) = named(spans, "deployment")
        starts = named(spans, "start g_web.")
        assert {span["trace"] for span in (wish, deployment, *starts)} == {wish["trace"]}
        assert (wish["parent"], deployment["parent"]) == ("", wish["id"])
        assert wish["http.response.status_code"] == 200 and wish["of"]["service.name"] == "kato"
        for start in starts:
            assert start["parent"] == deployment["id"] and start["kato.app"] == "/g/web"
            assert start["kato.deployment"] == deployment["kato.deployment"] and start["failed"] is None
            assert before < start["began"] < start["ended"] < time.time() and "running" in start["events"]
        assert {start["kato.task"] for start in starts} == {task["id"] for task in machine.tasks("/g/web")}
        file.write_text(json.dumps({"id": "/g", "apps": [WEB | {"cmd": "exit 3"}]}))
        machine.kato("up", str(file), "--no-wait")
        machine.until(lambda: any(span["failed"] for span in named(spans, "start")))
        machine.kato("down", "--all")
        # What waited when the cell ended was sent.
        assert named(spans, "DELETE /v2/groups") and not named(spans, "POST /v1/plan")


def test_a_receiver_that_is_away_costs_nothing(machine: Machine) -> None:
    machine.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    file = machine.root / "app.json"
    file.write_text(json.dumps({"id": "/a", "cmd": "sleep 9000", "cpus": 0.1, "mem": 32}))
    machine.kato("up", str(file), "-d")
    machine.kato("rm", "a")
    machine.kato("down", "--all")
    machine.until(lambda: machine.processes() == [])


def test_without_the_extra_nothing_is_imported_and_that_is_said(machine: Machine) -> None:
    look = (
        "import sys, kato.node, kato.api, kato.agent; print([name for name in sys.modules if 'opentel' in name])"
    )
    assert subprocess.run([sys.executable, "-c", look], stdout=subprocess.PIPE, check=True).stdout == b"[]\n"
    (machine.root / "opentelemetry.py").touch()  # as if it were not there
    path = os.pathsep.join(filter(None, [str(machine.root), os.environ.get("PYTHONPATH")]))
    machine.env |= {"PYTHONPATH": path, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    machine.start()
    assert "no traces are sent: run pip install 'katosys[otel]'" in machine.log()


def named(spans: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [span for span in spans if span["name"].startswith(name)]
