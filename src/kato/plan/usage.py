"""The Worlds' nodes and tasks flow in, one World after the other; what is free on each node comes out.

Only what changed since the World before is read again: the facts of some nodes, the tasks of some apps.
"""

from collections.abc import Mapping

from kato.model.node import Node
from kato.model.task import Task
from kato.plan.columns import Columns, Free, Tasks


class Usage:
    """What is free on the nodes of a cell. Where nodes come or go, it is to be made anew."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.free = Free(Columns(nodes))
        self._nodes = nodes
        self._tasks: dict[str, Tasks] = {}

    def learn(self, nodes: Mapping[str, Node]) -> bool:
        """Takes in what nodes say of themselves; False where these are other nodes than before."""
        if nodes is self._nodes:
            return True
        if nodes.keys() != self._nodes.keys():
            return False
        for id, node in nodes.items():
            if node is not self._nodes[id]:
                self.free.learn(node)
        self._nodes = nodes
        return True

    def follow(self, tasks: Mapping[str, Tasks]) -> None:
        """Makes what is free true for these tasks, by app and id."""
        gone: list[Task] = []
        come: list[Task] = []
        for app in self._tasks.keys() - tasks.keys():
            gone.extend(self._tasks.pop(app).values())
        for app, now in tasks.items():
            before = self._tasks.get(app)
            if before is now:
                continue
            if before is None:
                come.extend(now.values())
            else:
                gone.extend(task for id, task in before.items() if now.get(id) is not task)
                come.extend(task for id, task in now.items() if before.get(id) is not task)
            self._tasks[app] = now
        self.free.give(gone)
        self.free.take(come)
