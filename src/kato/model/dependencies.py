"""Apps and groups come in; who waits for whom comes out, for validation and the planner alike.

A dependency of an app or a group is on the app that it names, or on every app in the group that it names; never
on what lies within the one that carries it. So `/g/a` may depend on `/g`, and means the other apps there. What
does not exist is waited for by nobody.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cached_property

from kato.model.app import App
from kato.model.deployment import GroupRecord
from kato.model.ids import parent, within

CIRCLES = 10
"""Circles that are told at most."""


class Dependencies:
    """The dependencies among apps. A group that others depend on stands in their graph as one point."""

    def __init__(self, apps: Mapping[str, App], groups: Mapping[str, GroupRecord] | None = None) -> None:
        self._apps = apps
        self._records = groups or {}
        self._groups = {id: group for id, group in self._records.items() if group.dependencies}
        self._depths: dict[str, int] = {}

    def named(self, app: App) -> set[str]:
        """The apps that an app's own `dependencies` mean."""
        points = {point for word in app.dependencies for point in self._meant(app.id, word)}
        return {id for point in points for id in ((point,) if point in self._apps else self._members[point])}

    def missing(self, words: Iterable[str]) -> list[str]:
        """Those of the dependencies of an app or a group that name no app and no group."""
        return [word for word in words if word not in self.names]

    def depth(self, id: str) -> int:
        """The length of the longest path of dependencies from an app (a circle is cut where it closes)."""
        path = [id]
        open: dict[str, list[str]] = {}
        while path:
            here = path[-1]
            if here in self._depths and here not in open:
                path.pop()
                continue
            if here not in open:
                open[here] = self._points(here)
                self._depths[here] = -1  # on the path, not known yet
                fresh = [each for each in open[here] if each not in self._depths]
                if fresh:
                    path.extend(fresh)
                    continue
            deepest = max((self._depths[each] for each in open.pop(here)), default=-1)
            self._depths[here] = deepest + (here in self._apps)
            path.pop()
        return self._depths[id]

    def circles(self) -> list[tuple[str, ...]]:
        """The first circles that a walk in order meets, each as app ids that end where they begin."""
        found: list[tuple[str, ...]] = []
        over: set[str] = set()
        for start in sorted(self._apps):
            trail = {start: iter(self._points(start))} if start not in over else {}
            while trail:
                here, rest = next(reversed(trail.items()))
                for point in rest:
                    if point in trail:
                        found.append(self._circle([*trail], point))
                        if len(found) == CIRCLES:
                            return found
                    elif point not in over:
                        trail[point] = iter(self._points(point))
                        break
                else:
                    over.add(here)
                    del trail[here]
        return found

    def _circle(self, trail: list[str], point: str) -> tuple[str, ...]:
        apps = [id for id in trail[trail.index(point) :] if id in self._apps]
        return (*apps, apps[0])

    def _points(self, here: str) -> list[str]:
        """What a point of the graph waits for, in order: a group waits for its apps."""
        app = self._apps.get(here)
        if app is None:
            return self._members.get(here, [])
        words = [(here, word) for word in app.dependencies]
        if self._groups:
            around = [self._groups[id] for id in _above(here) if id in self._groups]
            words += [(group.id, word) for group in around for word in group.dependencies]
        return sorted({point for carrier, word in words for point in self._meant(carrier, word)})

    def _meant(self, carrier: str, word: str) -> Iterator[str]:
        """An app, a group as a whole, or, where the carrier lies within that group, the other apps in it."""
        if word in self._apps:
            if not within(word, carrier):
                yield word
        elif word in self._members:
            if within(carrier, word):
                yield from (id for id in self._members[word] if not within(id, carrier))
            else:
                yield word

    @cached_property
    def names(self) -> Set[str]:
        """All that can be depended on: apps, and groups, with and without a record."""
        return self._apps.keys() | self._records.keys() | self._members.keys() | {"/"}

    @cached_property
    def _members(self) -> dict[str, list[str]]:
        """Group → all apps in it, at any depth."""
        members: dict[str, list[str]] = {}
        for id in self._apps:
            for group in _above(id):
                members.setdefault(group, []).append(id)
        return members


def _above(id: str) -> Iterator[str]:
    """The groups that an app lies in, the root last."""
    while id != "/":
        id = parent(id)
        yield id
