"""What happens: Marathon's events come from the cell; lines for people, or JSON and YAML, go to stdout."""

import sys
from collections.abc import Mapping
from typing import Any

from kato.cli.printing.show import Output, document, say
from kato.cli.printing.terminal import knows_unicode
from kato.cli.words.names import find_app
from kato.cli.words.place import THERE, Address
from kato.model.errors import Unavailable
from kato.model.ids import short_task

Json = Mapping[str, Any]
_TOLD = {
    "deployment_info": "began a step",
    "deployment_step_success": "finished a step",
    "deployment_success": "is over: all is as wished",
    "deployment_failed": "was taken back, or taken over by another",
}


async def events(
    *,
    app: str | None = None,
    output: Output = "table",
    place: Address = THERE,
) -> None:
    """Say what happens from now on: wishes, deployments, tasks and their health, until Ctrl-C or the cell's end.

    Parameters
    ----------
    app
        Only what happens to this app. Written whole (`/voting/vote`) it need not be there yet.
    output
        How to print: table (a line each), json (every event of Marathon's, a line each) or yaml (a document each).
    """
    async with place.client() as client:
        known = [each["id"] for each in await client.apps()]
        wanted = None if app is None else app if app.startswith("/") else find_app(app, known)
        async for event in client.events():
            if wanted is None or wanted in touched(event):
                _print(event, output)
        raise Unavailable(f"The cell at {client.address} has ended.")


def _print(event: Json, output: str) -> None:
    if output == "json":
        import json

        say(json.dumps(event, ensure_ascii=not knows_unicode(sys.stdout)))
    elif output == "yaml":
        print("---")
        document(dict(event), output)
        sys.stdout.flush()
    elif words := sentence(event):
        say(f"{event['timestamp']}  {words}")


def touched(event: Json) -> set[str]:
    """The apps that an event is about."""
    plan = event.get("plan") or {}
    found = {action["app"] for step in plan.get("steps", ()) for action in step["actions"]}
    found |= {event.get("appId"), event.get("runSpecId"), (event.get("appDefinition") or {}).get("id")}
    return found - {None}


def sentence(event: Json) -> str:
    """An event in words; empty where another one says the same.

    >>> sentence({"eventType": "app_terminated_event", "appId": "/voting/vote"})
    '/voting/vote  is gone'
    """
    kind, app = str(event["eventType"]), event.get("appId")
    task = short_task(str(event.get("taskId", "")))
    match kind:
        case "status_update_event":
            state = str(event["taskStatus"]).removeprefix("TASK_").lower().replace("killing", "ending")
            message = f": {event['message']}" if event.get("message") else ""
            return f"{app}  {task} is {state} on {event['slaveId']}{message}"
        case "health_status_changed_event":
            return f"{app}  {task} is {'healthy' if event['alive'] else 'not healthy'}"
        case "failed_health_check_event":
            return f"{app}  {task} failed a check"
        case "unhealthy_instance_kill_event":
            return f"{app}  {task} is replaced: {event['reason']}"
        case "app_terminated_event":
            return f"{app}  is gone"
        case "api_post_event":
            return f"{event['appDefinition']['id']}  is wished for as of {event['appDefinition']['version']}"
        case _ if kind in _TOLD:
            apps = ", ".join(sorted(touched(event)))
            return f"{apps}  deployment {event['plan']['id']} {_TOLD[kind]}"
    return ""
