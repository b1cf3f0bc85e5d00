"""A real Prometheus with the files of docs/observability: it finds a real cell and a task by asking the cell."""

import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from load import free_ports
from machine import ROOT, Machine, own_cell

FILES = ROOT / "docs" / "observability"
NAMED = re.compile(r"\b(?:kato|process|haproxy)_[a-z_]+\b")
COMPOSE = """
name: shop
services:
  web:
    command: printf 'shop_orders_total 7\\n' > figures && exec python3 -m http.server --bind 127.0.0.1 $$PORT
    expose: ["80"]
    labels: {prometheus.io/port: "0", prometheus.io/path: /figures}
    x-kato: {runtime: process, host: shop.localhost, health: {tcp: true, interval: 1s, delay: 100ms}}
  idle:
    command: exec sleep 1000
    x-kato: {runtime: process}
"""


class Prometheus:
    """The server of Debian's package, as the user who has nothing to say in the cell, for one cell."""

    def __init__(self, machine: Machine) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kato-prometheus-"))
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        shutil.copy(FILES / "alerts.yml", self.folder)
        config = (FILES / "prometheus.yml").read_text()
        assert "127.0.0.1:8180" in config and "15s" in config
        config = config.replace("127.0.0.1:8180", machine.api).replace("15s", "1s")
        (self.folder / "prometheus.yml").write_text(config)
        stranger = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        for path in (self.folder, *self.folder.iterdir()):
            if stranger:
                os.chown(path, stranger.pw_uid, stranger.pw_gid)
        words = [
            "prometheus",
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address={self.address}",
        ]
        user = stranger.pw_uid if stranger else None
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(words, cwd=self.folder, stdout=log, stderr=log, user=user)

    def ask(self, what: str, **query: str) -> Any:
        """The data of one answer of its API; None while it does not answer."""
        with suppress(OSError):
            url = f"http://{self.address}/api/v1/{what}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        return None

    def values(self, expression: str) -> dict[str, str]:
        """What an expression is now: app (or instance) → value."""
        found = self.ask("query", query=expression) or {"result": []}
        return {
            each["metric"].get("app", each["metric"].get("instance")): each["value"][1] for each in found["result"]
        }

    def found(self, expression: str) -> list[dict[str, str]]:
        """The labels of what an expression is now."""
        return [each["metric"] for each in (self.ask("query", query=expression) or {"result": []})["result"]]

    def end(self) -> None:
        """Ends it, and removes what it kept."""
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with own_cell() as machine:
        (machine.root / "compose.yaml").write_text(COMPOSE)
        machine.kato("up", str(machine.root / "compose.yaml"), "-d")
        yield machine


@pytest.fixture(scope="module")
def prometheus(machine: Machine) -> Iterator[Prometheus]:
    prometheus = Prometheus(machine)
    try:
        found = {machine.api: "1", "/shop/web": "1"}
        machine.until(lambda: prometheus.values("up") == found)
        yield prometheus
    finally:
        prometheus.end()


def test_a_prometheus_finds_the_cell_and_the_tasks_that_ask_for_it(
    machine: Machine, prometheus: Prometheus
) -> None:
    # A scrape that a slow machine did not finish in its second makes any of these untrue until the next.
    machine.until(lambda: prometheus.values("up") == {machine.api: "1", "/shop/web": "1"})
    machine.until(lambda: prometheus.values("shop_orders_total") == {"/shop/web": "7"})
    metric = {"job": "/shop/web", "task": "shop_web.1"}
    machine.until(
        lambda: [metric.items() <= each.items() for each in prometheus.found("shop_orders_total")] == [True]
    )
    machine.until(lambda: prometheus.values("kato_app_serving") == {"/shop/idle": "1", "/shop/web": "1"})
    assert not prometheus.ask("targets", state="any")["droppedTargets"]
    machine.kato("scale", "web", "2")
    machine.until(lambda: len(prometheus.found('up{app="/shop/web"} == 1')) == 2)


def test_what_haproxy_itself_counts_is_found_with_the_app_s_name(machine: Machine, prometheus: Prometheus) -> None:
    def count(code: str) -> str | None:
        expression = f'sum by (app) (haproxy_backend_http_responses_total{{code="{code}"}})'
        return prometheus.values(expression).get("/shop/web")

    machine.until(lambda: machine.site("shop.localhost", "/figures")[0] == 200)
    assert machine.site("shop.localhost", "/figures", {"it": "takes no POST"})[0] == 501
    machine.until(lambda: int(count("2xx") or 0) > 0 and int(count("5xx") or 0) > 0)
    assert prometheus.values('up{job="haproxy"}') == {machine.api: "1"}
    own = prometheus.ask("query", query='haproxy_frontend_status{proxy=~"ingress.*",state="UP"}')["result"]
    assert [each["value"][1] for each in own] == ["1"] and "app" not in own[0]["metric"]


def test_no_rule_fails_and_no_alert_fires_while_all_is_well(machine: Machine, prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        groups = prometheus.ask("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    machine.until(lambda: all(rule["health"] != "unknown" for rule in rules()))
    assert {rule["name"] for rule in rules()} == set(alerts())
    assert [(rule["name"], rule.get("lastError")) for rule in rules() if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules() if rule["state"] == "firing"] == []


def test_every_panel_of_the_dashboard_can_be_drawn(prometheus: Prometheus) -> None:
    shown = panels()
    assert len(shown) > 10
    for title, expression in shown:
        expression = expression.replace("$cell", ".*").replace("$__rate_interval", "10s")
        assert prometheus.ask("query", query=expression) is not None, title


def test_alerts_and_dashboard_name_figures_that_are_there(machine: Machine) -> None:
    said = machine.get("/metrics")
    counted = machine.get("/v1/prometheus/balancer")
    there = {line.split()[2] for line in (said + counted).splitlines() if line.startswith("# TYPE")}
    named = set(NAMED.findall((FILES / "alerts.yml").read_text()))
    named |= {name for _, expression in panels() for name in NAMED.findall(expression)}
    assert len(named) > 10 and named - there == set() and any(name.startswith("haproxy") for name in named)
    table = set(re.findall(r"^\| `(kato_\w+)`", (ROOT / "docs" / "observability.md").read_text(), re.MULTILINE))
    assert table == {name for name in there if name.startswith("kato_")}


def test_promtool_takes_the_files_and_the_figures(machine: Machine) -> None:
    for words in (["rules", "alerts.yml"], ["config", "prometheus.yml"]):
        done = subprocess.run(
            ["promtool", "check", *words], cwd=FILES, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    for path in ("/metrics", "/v1/prometheus/balancer"):
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=machine.get(path), capture_output=True, text=True, check=False
        )
        assert "parsing error" not in done.stderr
        assert done.returncode == 0 or path != "/metrics", done.stdout + done.stderr  # HAProxy names its own


FIRING = {
    "KatoDown": ('up{job="kato",instance="c"}', "0"),
    "KatoLeaderless": ("kato_leader", "0"),
    "KatoAppDown": ('kato_app_serving{app="/a"}', "0"),
    "KatoAppShort": ('kato_app_serving{app="/a"}', "1"),
    "KatoAppFails": ('kato_app_failures{app="/a"}', "3"),
    "KatoDeploymentStuck": ("kato_deployments_oldest_start_seconds", "0"),
    "KatoBalancerProblems": ("kato_balancer_problems", "1"),
    "KatoBalancerSilent": ('up{job="haproxy",instance="c"}', "0"),
    "KatoAppErrors": ('haproxy_backend_http_responses_total{app="/a",code="5xx",instance="c"}', "0+1"),
    "KatoNodeDark": ("kato_nodes_dark", "1"),
    "KatoNodeFull": ('kato_node_placed{node="n",resource="mem"}', "95"),
    "KatoRequestsFail": ('kato_http_requests_total{method="GET",status="500"}', "0+1"),
    "KatoTaskUnwatched": ('up{job="/a",app="/a",task="a.1"}', "0"),
}
"""alert → the series, and its values, of which it is to tell."""
BESIDE = {
    'kato_app_instances{app="/a"}': "2",
    'kato_node_capacity{node="n",resource="mem"}': "100",
    'up{job="kato",instance="c"}': "1",
    'haproxy_backend_http_responses_total{app="/a",code="2xx",instance="c"}': "0+9",
}


@pytest.mark.parametrize("alert", FIRING)
def test_each_alert_fires_for_its_own_trouble_alone(alert: str, tmp_path: Path) -> None:
    series, value = FIRING[alert]
    given = {**BESIDE, series: value}
    lines = [
        {"series": name, "values": f"{value if '+' in value else value + '+0'}x60"}
        for name, value in given.items()
    ]
    told = json.dumps(
        {
            "rule_files": [str(FILES / "alerts.yml")],
            "tests": [
                {
                    "interval": "1m",
                    "input_series": lines,
                    "promql_expr_test": [
                        {
                            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                            "eval_time": "45m",
                            "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}],
                        }
                    ],
                }
            ],
        }
    )
    (tmp_path / "test.yml").write_text(told)
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tried() -> None:
    assert set(FIRING) == set(alerts())


def alerts() -> list[str]:
    (group,) = YAML(typ="safe").load((FILES / "alerts.yml").read_text())["groups"]
    return [rule["alert"] for rule in group["rules"]]


def panels() -> list[tuple[str, str]]:
    """(title, expression) of all that the dashboard shows."""
    dashboard = json.loads((FILES / "dashboard.json").read_text())
    return [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]
