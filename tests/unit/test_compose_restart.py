"""Services that end: what `restart`, `restart_policy` and who depends on them make of an app."""

import pytest

from kato.language import Manifest, read
from kato.model.app import App, RestartPolicy


def compose(body: str) -> Manifest:
    return read(f"name: shop\nservices:\n{body}", path="/srv/shop/compose.yaml", environ={}, files=lambda _: None)


def service(line: str) -> App:
    return compose(f"  web:\n    command: [serve]\n    {line}\n").apps[0]


def on_failure(most: int | None = None, *, job: bool = False) -> RestartPolicy:
    return RestartPolicy(condition="on-failure", max_attempts=most, job=job)


def once(*, job: bool = True) -> RestartPolicy:
    return RestartPolicy(condition="none", job=job)


@pytest.mark.parametrize(
    ("line", "policy"),
    [
        ("", None),
        ("restart: always", None),
        ("restart: unless-stopped", None),
        ('restart: "no"', once()),
        ("restart: no", once()),
        ("restart: false", once()),
        ('restart: "no"\n    expose: [80]', once(job=False)),
        ('restart: "no"\n    healthcheck: {test: ping}', once(job=False)),
        ("restart: on-failure", on_failure()),
        ("restart: on-failure:3", on_failure(3)),
        ("restart: on-failure:0", on_failure()),
        ("deploy: {restart_policy: {condition: any}}", None),
        ("deploy: {restart_policy: {}}", None),
        ("deploy: {restart_policy: {condition: none}}", once()),
        ("deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}", on_failure(2)),
        ("restart: always\n    deploy: {restart_policy: {condition: on-failure}}", on_failure()),
        ("deploy: {mode: replicated-job}", on_failure(job=True)),
        ("deploy: {mode: replicated-job, restart_policy: {condition: none}}", once()),
    ],
)
def test_what_becomes_of_a_task_that_ends(line: str, policy: RestartPolicy | None) -> None:
    assert service(line).restart_policy == policy


@pytest.mark.parametrize(
    ("line", "policy"),
    [("", once()), ("restart: on-failure:5", on_failure(5, job=True)), ("expose: [80]", once())],
)
def test_whose_end_others_await_is_a_job(line: str, policy: RestartPolicy) -> None:
    """Compose restarts nothing by default; here that holds where the file says that the service ends."""
    needs = "depends_on: {migrate: {condition: service_completed_successfully}}"
    found = compose(f"  web: {{command: serve, {needs}}}\n  migrate:\n    command: go\n    {line}\n")
    web, migrate = found.apps
    assert web.dependencies == ("/shop/migrate",) and web.restart_policy is None
    assert migrate.restart_policy == policy
    assert migrate.upgrade_strategy.maximum_over_capacity == 0.0, "two must not do the same work at once"


def test_the_delay_of_a_restart_policy_is_kept() -> None:
    app = service("deploy: {restart_policy: {condition: on-failure, delay: 5s}}")
    assert (app.backoff_seconds, app.backoff_factor) == (5.0, 1.0)


def test_its_window_is_ignored_with_a_warning() -> None:
    line = "deploy: {restart_policy: {condition: on-failure, window: 5s}}"
    (warning,) = compose(f"  web:\n    command: [serve]\n    {line}\n").warnings
    assert "5:" in warning and "services.web.deploy.restart_policy.window: is ignored: " in warning


def test_what_it_becomes_is_written_and_read_again() -> None:
    manifest = compose('  web: {command: serve, restart: "no"}\n')
    assert manifest.body()["apps"][0]["restartPolicy"] == {"condition": "none", "job": True}
