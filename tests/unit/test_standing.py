"""How apps and tasks stand: the words, and that they are the planner's."""

import msgspec
import pytest

from builders import V1, V2, app, node, status, task, world
from kato.api.problems import Problems
from kato.api.standing import StandingApp, Standings, standing_app, standing_task
from kato.model.action import Keep
from kato.model.app import App, HealthCheck, RestartPolicy
from kato.model.deployment import Deployment, Failure, Launches
from kato.model.frontend import BorderAck, Service
from kato.model.task import Health, Status, Task, TaskState
from kato.plan import decide, why

CHECKED = app(health_checks=(HealthCheck(protocol="HTTP"),))
PLAIN = app()
WELL, NEW = Health(alive=True), Health()
ILL = Health(consecutive_failures=2, cause="refused")


def told(of: Task, fact: Status | None) -> tuple[str, bool, str | None]:
    found = standing_task(of, fact, V1)
    return found.state, found.serves, found.health


@pytest.mark.parametrize(
    ("health", "ready", "word", "serves", "cause"),
    [
        ((WELL,), True, "healthy", True, None),
        ((NEW,), True, "running", False, None),
        ((ILL,), True, "unhealthy", False, "refused"),
        ((WELL, ILL), True, "unhealthy", False, "refused"),
        ((WELL,), False, "running", False, None),
        ((), True, "running", True, None),
    ],
)
def test_how_far_a_running_task_has_come(
    health: tuple[Health, ...], ready: bool, word: str, serves: bool, cause: str | None
) -> None:
    of = task(CHECKED)
    assert told(of, status(of, health=health, ready=ready)) == (word, serves, cause)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (TaskState.STAGING, "staging"),
        (TaskState.STARTING, "starting"),
        (TaskState.KILLING, "stopping"),
        (TaskState.FAILED, "failed"),
        (TaskState.LOST, "lost"),
    ],
)
def test_a_state_has_a_word(state: TaskState, word: str) -> None:
    of = task(PLAIN)
    assert told(of, status(of, state))[0] == word


SINCE = msgspec.structs.replace(NEW, first_success=1.0, cause="refused")
GRACE = msgspec.structs.replace(NEW, last_failure=1.0, cause="refused")


@pytest.mark.parametrize(
    ("state", "health", "checked", "word"),
    [
        (None, (), True, "waiting"),
        (None, (), False, None),
        (TaskState.STARTING, (), True, "waiting"),
        (TaskState.RUNNING, (), True, None),
        (TaskState.RUNNING, (NEW,), True, "waiting"),
        (TaskState.RUNNING, (GRACE,), True, "waiting"),
        (TaskState.RUNNING, (WELL, NEW), True, "waiting"),
        (TaskState.RUNNING, (WELL, WELL), True, "healthy"),
        (TaskState.RUNNING, (WELL, ILL), True, "unhealthy"),
        (TaskState.RUNNING, (SINCE,), True, "unhealthy"),
        (TaskState.KILLED, (WELL,), True, None),
    ],
)
def test_what_checks_say_is_one_word(
    state: TaskState | None, health: tuple[Health, ...], checked: bool, word: str | None
) -> None:
    of = task(CHECKED)
    fact = status(of, state, health=health) if state else None
    assert standing_task(of, fact, V1, checked=checked).checks == word


def test_a_task_that_leaves_says_so() -> None:
    for goal, word in (("drain", "draining"), ("stop", "stopping")):
        of = task(CHECKED, goal=goal)
        assert told(of, status(of, alive=True))[:2] == (word, False)
        assert told(of, status(of, TaskState.KILLED))[0] == "stopped"
    assert told(task(PLAIN), None)[0] == "staging"


def standing(of: App, *tasks: Task, alive: bool | None = None, **more: object) -> StandingApp:
    facts = [status(each, alive=alive) for each in tasks]
    return standing_app(world(apps=[of], tasks=tasks, statuses=facts, **more), of.id)  # type: ignore[arg-type]


def test_how_an_app_is() -> None:
    assert standing(CHECKED, task(CHECKED), alive=True).state == "healthy"
    assert standing(PLAIN, task(PLAIN)).state == "running"
    assert standing(PLAIN).state == "waiting"
    assert standing(app(instances=0)).state == "stopped"
    ill = task(CHECKED)
    found = standing_app(world(apps=[CHECKED], tasks=[ill], statuses=[status(ill, health=(ILL,))]), CHECKED.id)
    assert (found.state, found.healthy, found.settled) == ("unhealthy", 0, False)
    held = standing(PLAIN, task(PLAIN), deployments=[holding(PLAIN)])
    assert (held.state, held.deployment, held.healthy, held.settled) == ("deploying", "d", 1, False)


def test_too_many_tasks_are_not_settled() -> None:
    assert not standing(PLAIN, task(PLAIN), task(PLAIN, 2)).settled
    assert standing(PLAIN, task(PLAIN)).settled


def test_after_a_rollback_to_an_older_configuration_the_newer_tasks_are_not_current() -> None:
    """The wish is of the newest version and of the oldest configuration."""
    back = app(version="2026-01-03T00:00:00.000Z", config=V1)
    bad, good = task(app(version=V2), 2), task(app(version=V1))
    found = standing(back, good, bad)
    assert {each.attempt: each.current for each in found.tasks} == {1: True, 2: False}
    assert found.healthy == 1 and not found.settled
    look = world(apps=[back], tasks=[good, bad], statuses=[status(good), status(bad)], nodes=[node()])
    assert why(look, decide(look, 0.0), back.id, 0.0).healthy == found.healthy


def test_an_app_that_goes_is_told_until_it_is_gone() -> None:
    last = task(PLAIN)
    found = standing_app(world(tasks=[last], statuses=[status(last)]), PLAIN.id)
    assert (found.state, found.wished, found.healthy, found.settled) == ("removing", 0, 0, False)
    going = world(deployments=[holding(PLAIN)])
    assert [msgspec.json.decode(each)["id"] for each in Standings().apps(going)] == [PLAIN.id]
    assert not list(Standings().apps(world()))


PORT = "service port 10000 of /web is in use by another program: stop that, or choose another port."
HOST = "host a.localhost with path / of /web is served by /first already."
INGRESS = "the ingress 127.0.0.1:80 is in use by another program: stop that, or choose another port."
RELOAD = "HAProxy goes on with its earlier ports and hosts, since a reload failed: why"


@pytest.mark.parametrize(
    ("problem", "named", "hosted", "tcp", "urls"),
    [
        (PORT, True, False, False, ("a.localhost", "B.localhost")),
        (HOST, True, False, True, ("B.localhost",)),
        ("host b.localhost with path / of /web is served by /first already.", True, False, True, ("a.localhost",)),
        ("path '/ x' of /web is not served: it takes a path such as /api.", True, False, True, ()),
        (INGRESS, True, True, True, ()),
        (RELOAD, True, True, False, ()),
        ("service port 10001 of /web is in use.", True, False, True, ("a.localhost", "B.localhost")),
        ("service port 10000 of /webs is in use.", False, False, True, ("a.localhost", "B.localhost")),
    ],
)
def test_a_problem_of_the_balancer_is_told_of_whom_it_concerns(
    problem: str, named: bool, hosted: bool, tcp: bool, urls: tuple[str, ...]
) -> None:
    hosts = {"HAPROXY_0_VHOST": "a.localhost,B.localhost"}
    web, other = app(ports=1, labels=hosts), app("/other", ports=1, labels=hosts)
    path = "/ x" if problem.startswith("path") else "/"
    service = Service("/web", 0, 10000, ("a.localhost", "B.localhost"), path)
    look = world(apps=[web, other, app("/quiet")], borders=[BorderAck(node="n1", seq=1, problems=(problem,))])
    assert standing_app(look, "/web").problems == ((problem,) if named else ())
    assert standing_app(look, "/other").problems == ((problem,) if hosted else ())
    assert standing_app(look, "/quiet").problems == ()
    assert Problems(look.borders).reach(service) == (tcp, urls)


def test_an_app_that_the_balancer_cannot_serve_is_not_called_healthy() -> None:
    web = app(ports=1, health_checks=(HealthCheck(protocol="HTTP"),))
    only = task(web)
    for problems, state in (((), "healthy"), ((PORT,), "unserved")):
        ack = BorderAck(node="n1", seq=1, problems=problems)
        look = world(apps=[web], tasks=[only], statuses=[status(only, alive=True)], borders=[ack])
        assert standing_app(look, "/web").state == state


def test_a_known_answer_is_made_anew_with_a_problem() -> None:
    web, standings = app(ports=1), Standings()
    for problems in ((), (PORT,), ()):
        look = world(apps=[web], borders=[BorderAck(node="n1", seq=1, problems=problems)])
        assert [msgspec.json.decode(each)["problems"] for each in standings.apps(look)] == [list(problems)]


def test_the_last_failure_is_told() -> None:
    failure = Failure(
        task="t", app="/web", version=V1, node="n1", host="h", state="TASK_FAILED", message="exit 3", time=1.0
    )
    found = standing(PLAIN, launches=[Launches(app="/web", last_failure=failure)])
    assert found.failure is not None and (found.failure.task, found.failure.message) == ("t", "exit 3")


def test_what_did_not_change_is_not_made_again_and_a_group_is_chosen() -> None:
    standings = Standings()
    look = world(apps=[app("/a/x"), app("/b")])
    (first, second), again = standings.apps(look), list(standings.apps(look))
    assert again[0] is first and again[1] is second
    assert list(standings.apps(look, "/a")) == [first]
    changed = world(apps=[look.apps["/a/x"], app("/b", instances=3)], tasks=[])
    assert msgspec.json.decode(list(standings.apps(changed))[1])["wished"] == 3


def holding(*apps: App) -> Deployment:
    return Deployment(
        id="d",
        version=V2,
        started=0,
        original={each.id: V1 for each in apps},
        target={each.id: None for each in apps},
    )


@pytest.mark.parametrize(
    ("state", "word", "healthy", "says"),
    [(TaskState.FINISHED, "finished", 1, None), (TaskState.FAILED, "failed", 0, "Command exited with status 3")],
)
def test_an_app_that_ends_is_finished_or_failed(
    state: TaskState, word: str, healthy: int, says: str | None
) -> None:
    wish = app(restart_policy=RestartPolicy(condition="none", job=True))
    gone = Keep(task(wish), "it has ended").kept
    fact = status(gone, state, message="Command exited with status 3")
    found = standing_app(world(apps=[wish], tasks=[gone], statuses=[fact]), "/web")
    assert (found.state, found.healthy, found.settled) == (word, healthy, bool(healthy))
    assert (found.tasks[0].state, found.tasks[0].health) == (word, says)


def test_a_job_that_runs_is_not_as_wished_yet() -> None:
    wish = app(restart_policy=RestartPolicy(condition="none", job=True))
    here = world(apps=[wish], tasks=[task(wish)], statuses=[status(task(wish))])
    found = standing_app(here, "/web")
    assert (found.state, found.healthy, found.settled) == ("running", 0, False)
