"""A task and its status go in; whether it serves, and whether the balancer knows it, come out."""

from kato.model.app import App
from kato.model.task import Status, Task


def serves(task: Task, status: Status | None) -> bool:
    """Whether a task is capacity for its callers: meant to run, running, healthy by every check, and ready."""
    return status is not None and status.ready and task.goal == "run" and status.healthy


def balanced(app: App | None) -> bool:
    """Whether the balancer serves an app: it has a TCP service port. Where the app is not known: it may have."""
    return app is None or any(port.service and "tcp" in port.protocol for port in app.ports)
