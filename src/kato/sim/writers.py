"""Each revision and in whose name it was written flow in; a breach raises where a key was written by another than
its one writer, or without what fences it (`kato.store.keys` says who writes what).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kato.sim.cell import Life, Signature
from kato.sim.faults import WRITER
from kato.store import keys

Change = tuple[str, Any, Any]
"""A key, its value before and its value now; None where there is none."""
Require = Callable[[bool, str], None]

_LEADERS = {"tasks", "progress", "launches"}
_WISHES = {"apps", "versions", "groups"}
_SHARED = {"deployments", "locks", "kills", "nudges"}
"""What the api puts and the leader removes."""
_NODES = {"nodes", "status", "borders", "links"}


class Writers:
    """Who may write what."""

    def __init__(self, require: Require) -> None:
        self._require = require
        self._leader: Life | None = None

    def observe(self, changed: Sequence[Change]) -> None:
        """Checks one revision."""
        signature = WRITER.get()
        life = signature.life if isinstance(signature, Signature) else None
        raised = {key: (before or 0, now) for key, before, now in changed if key in (keys.PLAN_SEQ, keys.WISH_SEQ)}
        for key, (before, now) in raised.items():
            self._require(now == before + 1, f"{key} went from {before} to {now}")
        if keys.PLAN_SEQ in raised:
            self._require(life is self._leader, f"{_name(life)} wrote a plan while {_name(self._leader)} leads")
        for key, before, now in changed:
            self._key(key, before, now, life, raised)

    def _key(self, key: str, before: Any, now: Any, life: Life | None, raised: Mapping[str, object]) -> None:
        room, _, rest = key.partition("/")
        if room in _LEADERS:
            self._require(keys.PLAN_SEQ in raised, f"{key} was written without {keys.PLAN_SEQ}")
        elif room in _WISHES:
            self._require(keys.WISH_SEQ in raised, f"{key} was written without {keys.WISH_SEQ}")
        elif room in _SHARED:
            fences = (keys.WISH_SEQ,) if now is not None else (keys.WISH_SEQ, keys.PLAN_SEQ)
            self._require(any(fence in raised for fence in fences), f"{key} was written unfenced")
        elif room in _NODES and now is not None:
            node = rest.partition("/")[0]
            self._require(life is not None and life.machine.id == node, f"{key} was written by {_name(life)}")
        elif key == keys.LEADER:
            self._require(before is None or now is None, f"{_name(life)} took the leadership from another")
            self._leader = life if now is not None else None


def _name(life: Life | None) -> str:
    return f"a life on {life.machine.id}" if life else "nobody"
