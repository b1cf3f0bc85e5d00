"""A wish and the World that it would make come in; a warning for each dependency on what is not there comes out.

Marathon takes such a dependency without a word: what it names may come later, and until then nothing waits for it.
More often it is a slip: a relative one is taken from the app's own id, so that a neighbour is `../store`.
"""

from collections.abc import Iterator
from itertools import islice

from kato.api.wish import Wish
from kato.language.shape import closest
from kato.model.dependencies import Dependencies
from kato.model.ids import absolute, parent, within
from kato.model.world import World
from kato.plan import missing

MOST = 10
"""Warnings of one wish."""


def unmet(wished: World, wish: Wish) -> list[str]:
    """Sentences; the first `MOST` of the apps and groups that are wished for, in the order of their ids."""
    return list(islice(_unmet(wished, wish), MOST))


def _unmet(wished: World, wish: Wish) -> Iterator[str]:
    dependencies = Dependencies(wished.apps, wished.groups)
    for id in sorted(wish.apps):
        if (app := wished.apps.get(id)) is not None:
            for word, words in missing(app, dependencies):
                yield f"{words}.{_meant(dependencies, id, word)}"
    for id in sorted(wish.groups):
        if (group := wished.groups.get(id)) is not None:
            for word in dependencies.missing(group.dependencies):
                said = f"The group {id} depends on {word}, which does not exist: it is not waited for."
                yield f"{said}{_meant(dependencies, id, word)}"


def _meant(dependencies: Dependencies, carrier: str, word: str) -> str:
    """What was probably meant, as a question; nothing where nothing is near."""
    others = sorted(id for id in dependencies.names if not within(carrier, id))
    if within(word, carrier):
        rest, path, group = word[len(carrier) + 1 :], "../", parent(carrier)
        while absolute(rest, group) not in others and group != "/":
            path, group = f"../{path}", parent(group)
        if absolute(rest, group) in others:
            return f" Did you mean '{path}{rest}'?"
    name = word.rsplit("/", 1)[-1]
    namesake = next((id for id in others if id.rsplit("/", 1)[-1] == name), None)
    return f" Did you mean '{namesake}'?" if namesake else closest(word, others)
