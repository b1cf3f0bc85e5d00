"""One app's life: ends, sickness, kills, drains and delays, as the actions that follow."""

from dataclasses import replace
from typing import Any

import pytest

from builders import V1, V2, app, node, status, task, world
from kato.model.action import Action, Clear, Count, Drain, Forget, Place, Stop
from kato.model.app import HealthCheck, UpgradeStrategy
from kato.model.deployment import Deployment, Kill, Launches, Nudge
from kato.model.frontend import BorderAck
from kato.model.node import Resources
from kato.model.task import Health, TaskState
from kato.plan import Recall, decide

NOW = 1000.0
BORDER = BorderAck(node="n1", seq=7)


def kinds(actions: tuple[Action, ...]) -> list[str]:
    return [type(action).__name__ for action in actions]


def record(actions: tuple[Action, ...]) -> Launches:
    """What is written of how launching has gone, in the end."""
    written = [each.launches for each in actions if isinstance(each, Count | Forget | Stop | Clear)]
    return [each for each in written if each][-1]


def test_an_app_is_placed_whole_and_counted_before() -> None:
    plan = decide(world(apps=[app(instances=3)], nodes=[node()]), NOW)
    assert kinds(plan.actions) == ["Count", "Place", "Place", "Place"]
    assert record(plan.actions) == Launches(app="/web", attempts=3, config=V1)
    assert not plan.waits and plan.wake_at is None


def test_attempts_go_on_where_they_were_so_that_no_id_comes_twice() -> None:
    plan = decide(world(apps=[app()], nodes=[node()], launches=[Launches(app="/web", attempts=8, config=V1)]), NOW)
    assert record(plan.actions).attempts == 9
    assert [action.task.attempt for action in plan.actions if isinstance(action, Place)] == [9]


def test_a_task_is_of_the_incarnation_that_places_it() -> None:
    """A store that was put back counts the same attempts again, and they are others."""
    wishes: dict[str, Any] = {"apps": [app()], "nodes": [node()]}
    lives = [decide(world(**wishes, incarnation=life), NOW).actions for life in (1, 2)]
    first, second = (each.task for actions in lives for each in actions if isinstance(each, Place))
    assert (first.attempt, first.incarnation, second.attempt, second.incarnation) == (1, 1, 1, 2)
    assert first.id != second.id


def ended(state: TaskState = TaskState.FAILED, *, ran: float = 5.0, launches: Launches | None = None) -> Any:
    wish = app()
    gone = task(wish)
    fact = status(gone, state, started=NOW - ran, ended=NOW, exit_code=3)
    return world(
        apps=[wish], nodes=[node()], tasks=[gone], statuses=[fact], launches=[launches] if launches else []
    )


def test_an_unexpected_end_delays_the_next_launch() -> None:
    plan = decide(ended(), NOW)
    assert kinds(plan.actions) == ["Forget"]
    found = record(plan.actions)
    assert (found.failures, found.until) == (1, NOW + 1)
    assert found.last_failure is not None and found.last_failure.message == "it ended with exit code 3"
    assert plan.wake_at == NOW + 1 == plan.waits["/web"].until
    assert "it backs off until 1970-01-01T00:16:41.000Z after 1 failure in a row" in str(plan.waits["/web"])


@pytest.mark.parametrize(("state", "ran"), [(TaskState.FAILED, 60.0), (TaskState.LOST, 5.0)])
def test_a_steady_task_and_one_lost_with_its_machine_are_replaced_at_once(state: TaskState, ran: float) -> None:
    assert kinds(decide(ended(state, ran=ran), NOW).actions) == ["Forget", "Count", "Place"]


def test_after_the_delay_it_is_launched() -> None:
    waiting = world(
        apps=[app()],
        nodes=[node()],
        launches=[Launches(app="/web", attempts=1, config=V1, failures=2, until=NOW)],
    )
    assert decide(waiting, NOW - 0.1).actions == () and decide(waiting, NOW - 0.1).wake_at == NOW
    assert kinds(decide(waiting, NOW).actions) == ["Count", "Place"]
    assert record(decide(waiting, NOW).actions).failures == 2


def test_a_clock_that_is_set_back_prolongs_no_delay() -> None:
    before = [Launches(app="/web", attempts=1, config=V1, failures=1, until=NOW + 301)]
    cell = world(apps=[app()], nodes=[node()], launches=before)
    assert kinds(decide(cell, NOW).actions) == ["Count", "Place"]


def test_an_end_that_another_clock_dates_ahead_delays_no_longer() -> None:
    wish = app()
    mine = task(wish)
    facts = [status(mine, TaskState.FAILED, started=NOW + 295, ended=NOW + 300)]
    plan = decide(world(apps=[wish], nodes=[node()], tasks=[mine], statuses=facts), NOW)
    assert (record(plan.actions).until, plan.wake_at) == (NOW + 1, NOW + 1)


def test_scaling_does_not_end_the_delay_but_another_configuration_does() -> None:
    launches = [Launches(app="/web", attempts=1, config=V1, failures=2, until=NOW + 1)]
    scaled = world(apps=[app(instances=4, version=V2, config=V1)], nodes=[node()], launches=launches)
    assert decide(scaled, NOW).actions == ()
    changed = world(apps=[app(version=V2)], nodes=[node()], launches=launches)
    assert kinds(decide(changed, NOW).actions) == ["Count", "Place"]
    assert record(decide(changed, NOW).actions) == Launches(app="/web", attempts=2, config=V2)


def test_an_app_that_stays_up_is_forgiven() -> None:
    wish = app()
    mine = task(wish)
    steady = world(
        apps=[wish],
        nodes=[node()],
        tasks=[mine],
        statuses=[status(mine, started=NOW - 59)],
        launches=[Launches(app="/web", attempts=1, config=V1, failures=4, until=NOW - 80)],
    )
    assert (decide(steady, NOW).actions, decide(steady, NOW).wake_at) == ((), NOW + 1)
    assert record(decide(steady, NOW + 1).actions) == Launches(app="/web", attempts=1, config=V1)


def test_a_late_report_of_an_end_and_scaling_down_forgive_in_one_plan() -> None:
    wish = app(instances=1)
    mine = [task(wish, n) for n in (1, 2, 3)]
    facts = [status(mine[0]), status(mine[1]), status(mine[2], TaskState.FAILED, started=0.0, ended=3.0)]
    cell = world(apps=[wish], nodes=[node()], tasks=mine, statuses=facts)
    plan = decide(cell, NOW)
    assert kinds(plan.actions) == ["Forget", "Stop", "Count"]
    assert record(plan.actions).failures == 0


def test_a_nudge_ends_the_delay() -> None:
    waiting = world(
        apps=[app()],
        nodes=[node()],
        launches=[Launches(app="/web", attempts=1, config=V1, failures=2, until=NOW + 50)],
        nudges={"/web": Nudge(app="/web")},
    )
    plan = decide(waiting, NOW)
    assert kinds(plan.actions) == ["Clear", "Count", "Place"]
    assert record(plan.actions).failures == 0


def test_a_nudge_for_nothing_is_cleared() -> None:
    assert kinds(decide(world(nudges={"/x": Nudge(app="/x")}), NOW).actions) == ["Clear"]


def sick(failures: int, most: int = 3) -> Any:
    wish = app(ports=1, health_checks=(HealthCheck(max_consecutive_failures=most),))
    mine = task(wish)
    health = (Health(alive=False, consecutive_failures=failures, cause="connection refused"),)
    return world(
        apps=[wish],
        nodes=[node()],
        tasks=[mine],
        statuses=[status(mine, health=health, started=NOW - 5)],
        borders=[BORDER],
    )


def test_a_task_that_its_check_gives_up_is_stopped_at_once_and_counted() -> None:
    plan = decide(sick(3), NOW)
    assert kinds(plan.actions) == ["Stop"]
    [stop] = [action for action in plan.actions if isinstance(action, Stop)]
    assert not stop.expected
    assert stop.reason == "its HTTP check failed 3 times in a row (connection refused)"
    assert record(plan.actions).failures == 1


def test_a_task_that_its_check_has_not_given_up_stays() -> None:
    assert decide(sick(2), NOW).actions == ()
    assert decide(sick(99, most=0), NOW).actions == ()
    assert decide(replace(sick(3), dark=frozenset({"n1"})), NOW).actions == ()  # nobody knows


def test_an_end_that_was_counted_when_it_was_stopped_is_not_counted_again() -> None:
    wish = app()
    gone = task(wish, goal="stop", expected=False)
    cell = world(
        apps=[wish],
        nodes=[node()],
        tasks=[gone],
        statuses=[status(gone, TaskState.KILLED, ended=NOW)],
        launches=[Launches(app="/web", attempts=1, config=V1, failures=1, until=NOW + 1)],
    )
    assert kinds(decide(cell, NOW).actions) == ["Forget"]


def serving(ports: int = 1, **more: Any) -> Any:
    wish = app(ports=ports)
    mine = task(wish, **more)
    return world(apps=[wish], nodes=[node()], tasks=[mine], statuses=[status(mine)], borders=[BORDER], seq=7)


def kill(cell: Any) -> Any:
    id = next(iter(cell.tasks["/web"]))
    return replace(cell, kills={id: Kill(task=id, app="/web")})


def test_a_killed_task_that_serves_drains_and_is_replaced_meanwhile() -> None:
    assert kinds(decide(kill(serving()), NOW).actions) == ["Drain", "Count", "Place"]


def test_without_a_service_port_or_a_live_border_there_is_nothing_to_drain() -> None:
    assert kinds(decide(kill(serving(ports=0)), NOW).actions) == ["Stop", "Count", "Place"]
    assert kinds(decide(replace(kill(serving()), borders={}), NOW).actions) == ["Stop", "Count", "Place"]


def test_a_killed_task_is_not_a_failure_and_takes_its_kill_along() -> None:
    cell = kill(serving(goal="stop", expected=True))
    gone = next(iter(cell.tasks["/web"].values()))
    cell = replace(cell, statuses={"/web": {gone.id: status(gone, TaskState.KILLED, ended=NOW)}})
    plan = decide(cell, NOW)
    assert kinds(plan.actions) == ["Forget", "Count", "Place"]
    assert record(plan.actions).failures == 0


def test_a_kill_of_what_is_gone_is_cleared() -> None:
    cell = replace(serving(), kills={"x": Kill(task="x", app="/web")})
    assert decide(cell, NOW).actions == (Clear("kill", "x", "the task is gone"),)


def test_a_killed_task_is_not_replaced_before_it_is_gone_where_one_is_the_most() -> None:
    wish = app(upgrade_strategy=UpgradeStrategy(minimum_health_capacity=0, maximum_over_capacity=0))
    mine = task(wish)
    cell = kill(world(apps=[wish], nodes=[node()], tasks=[mine], statuses=[status(mine)]))
    plan = decide(cell, NOW)
    assert kinds(plan.actions) == ["Stop"]
    assert "at most 1 may be" in plan.waits["/web"].reason


@pytest.mark.parametrize(
    ("ack", "after", "found"),
    [
        (BorderAck(node="n1", seq=6), 1.0, []),
        (BorderAck(node="n1", seq=7), 1.0, ["Stop"]),
        (BorderAck(node="n1", seq=6), 30.0, ["Stop"]),
    ],
)
def test_a_draining_task_is_stopped_once_borders_let_go_or_time_is_up(
    ack: BorderAck, after: float, found: list[str]
) -> None:
    wish = app(ports=1, instances=0)
    mine = task(wish, goal="drain", goal_since=NOW, goal_seq=7)
    cell = world(apps=[wish], nodes=[node()], tasks=[mine], statuses=[status(mine)], borders=[ack])
    plan = decide(cell, NOW + after)
    assert kinds(plan.actions) == found
    assert plan.wake_at == (None if found else NOW + 30.0)


def test_a_removed_app_goes_whole_and_its_record_last() -> None:
    gone = serving()
    cell = replace(gone, apps={}, launches={"/web": Launches(app="/web", attempts=4)})
    assert kinds(decide(cell, NOW).actions) == ["Drain"]
    mine = next(iter(gone.tasks["/web"].values()))
    over = replace(cell, statuses={"/web": {mine.id: status(mine, TaskState.FAILED, ended=NOW)}})
    plan = decide(over, NOW)
    assert plan.actions == (
        Forget(mine, "it ended, nobody knows how"),
        Count("/web", None, "its app is removed"),
    )


def test_a_record_stays_while_a_deployment_may_bring_the_app_back() -> None:
    change = Deployment(
        id="d", version=V2, original={"/web": V1}, target={"/web": None}, started=0.0, settled=False
    )
    cell = world(deployments=[change], launches=[Launches(app="/web", attempts=4)])
    assert kinds(decide(cell, NOW).actions) == ["Advance"]


def test_scaling_down_drains_the_youngest() -> None:
    wish = app(instances=1, ports=1)
    mine = [task(wish, n, created=float(n)) for n in (1, 2, 3)]
    cell = world(
        apps=[wish], nodes=[node()], tasks=mine, statuses=[status(each) for each in mine], borders=[BORDER]
    )
    drains = [action for action in decide(cell, NOW).actions if isinstance(action, Drain)]
    assert sorted(action.task.attempt for action in drains) == [2, 3]
    assert {action.reason for action in drains} == {"the app is scaled down"}


def test_tasks_of_dark_nodes_are_left_alone() -> None:
    cell = serving()
    assert decide(replace(cell, dark=frozenset({"n1"})), NOW).actions == ()


@pytest.mark.parametrize("goal", ["run", "drain", "stop"])
def test_tasks_of_a_node_that_is_gone_are_replaced_and_no_failure_is_counted(goal: str) -> None:
    cell = replace(serving(on="n0", goal=goal, expected=goal != "run"), dark=frozenset({"n0"}))
    recall = Recall()
    known = replace(cell, nodes={**cell.nodes, "n0": node("n0")})
    decide(known, NOW, recall)
    plan = decide(cell, NOW, recall)
    assert kinds(plan.actions) == ["Forget", "Count", "Place"]
    assert str(plan.actions[0]).endswith(": its node is gone")
    assert record(plan.actions).failures == 0 and record(plan.actions).last_failure is None


def test_nothing_is_placed_on_a_dark_node_and_the_refusals_say_so() -> None:
    nodes = [node("n1"), node("n2", cpus=1.0), node("n3", runtimes=("docker",)), node("n4", cpus=1.0)]
    cell = world(apps=[app(cpus=4.0)], nodes=nodes, dark=frozenset({"n1"}))
    plan = decide(cell, NOW)
    assert plan.actions == ()
    assert str(plan.waits["/web"]) == (
        "/web waits for 1 task: needs 4 cpus: the largest of 2 nodes has 1, 1 free; "
        "needs the process runtime: n3 has none; does not answer: 1 node"
    )


def test_without_nodes_the_wait_says_so() -> None:
    assert decide(world(apps=[app()]), NOW).waits["/web"].reason == "no node has joined"


def test_prices_before_and_after() -> None:
    nodes = [node("n1", price=0.5), node("n2", price=0.25)]
    wish = app(instances=2, constraints=(("hostname", "UNIQUE"),))
    plan = decide(world(apps=[wish], nodes=nodes), NOW)
    assert (plan.price_before, plan.price_after) == (0.0, 0.75)
    unknown = decide(world(apps=[wish], nodes=[node("n1", price=0.5), node("n2")]), NOW)
    assert (unknown.price_before, unknown.price_after) == (0.0, None)
    none = decide(world(apps=[wish], nodes=[node("n1"), node("n2")]), NOW)
    assert (none.price_before, none.price_after) == (None, None)


def test_what_ends_makes_room_in_the_same_plan() -> None:
    wish = app(cpus=4.0)
    gone = task(wish, resources=Resources(cpus=4.0, mem=32.0))
    fact = status(gone, TaskState.FAILED, started=NOW - 100, ended=NOW)
    plan = decide(world(apps=[wish], nodes=[node(cpus=4.0)], tasks=[gone], statuses=[fact]), NOW)
    assert kinds(plan.actions) == ["Forget", "Count", "Place"]
