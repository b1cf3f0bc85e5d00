"""A World and the words of a wish come in; what it would change, and what the leader would do, comes out. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import msgspec

from kato.api import asked
from kato.api.unmet import unmet
from kato.api.wish import Wish, draft
from kato.api.wish.difference import differences
from kato.language.shape import Malformed
from kato.model.action import Plan, Wait
from kato.model.errors import Fault
from kato.model.ids import absolute
from kato.model.secret import Secret, sources
from kato.model.world import World
from kato.plan import Recall, decide

Json = dict[str, Any]


def wish_of(world: World, body: Json) -> Wish:
    """`{group}` as a PUT of that group, `{apps}` as a PUT of those apps, whole."""
    match body:
        case {"group": dict(group), **rest} if not rest:
            id = absolute(str(group.get("id", "/")))
            return asked.update_group(world, id, cast(Json, group), {})
        case {"apps": list(apps), **rest} if not rest:
            return asked.update_all(world, apps, partial=False)
    raise Malformed([Fault("/", 'must be {"group": {…}} or {"apps": […]}')])


def foresee(world: World, body: Json, before: Plan, now: float, *, salt: str, own: Mapping[int, str]) -> Json:
    """What a wish would change at `now` (epoch seconds), and what the leader would do that it would not do anyway.

    before: its plan for the World as it is. salt, own: as for `draft`.
    """
    wish = wish_of(world, body)
    wished = draft(world, wish, now, id="new", force=True, salt=salt, own=own).overlay(world)
    wished = _as_sent(wished)
    after = decide(wished, now, Recall())
    known = set(map(str, before.actions))
    return {
        "changes": [msgspec.structs.asdict(each) for each in differences(world, wished)],
        "actions": [sentence for sentence in map(str, after.actions) if sentence not in known],
        "warnings": unmet(wished, wish),
        "waits": [wait_in_words(wait) for wait in after.waits.values()],
        "price_before": before.price_before,
        "price_after": after.price_after,
    }


def _as_sent(world: World) -> World:
    """With the secrets that a file gives a value to: whoever wishes for its apps sends them first."""
    named = {name for app in world.apps.values() if app.secrets for name in sources(app) if "@" in name}
    sent = {name: Secret(value=b"", since=0.0) for name in named - world.secrets.keys()}
    return replace(world, secrets={**world.secrets, **sent}) if sent else world


def wait_in_words(wait: Wait) -> Json:
    """A wait as JSON, and as a sentence."""
    return {**msgspec.to_builtins(wait), "sentence": str(wait)}
