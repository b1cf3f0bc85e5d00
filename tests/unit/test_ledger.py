"""The ledger's index of leases, against a look at every key."""

from hypothesis import given
from hypothesis import strategies as st

from kato.store import Delete, Events, KeyValue, Op, Put
from kato.store.ledger import Ledger

KEYS = st.sampled_from(["a", "b", "c", "d"])
LEASES = st.integers(0, 2)
OPS = st.one_of(st.builds(Put, KEYS, st.just(b""), LEASES), st.builds(Delete, KEYS))


def leased(items: dict[str, KeyValue], lease: int | None) -> list[str]:
    return sorted(each.key for each in items.values() if each.lease and lease in (None, each.lease))


@given(st.lists(LEASES, max_size=4), st.lists(st.one_of(OPS, st.sampled_from(["commit", "abandon"])), max_size=30))
def test_what_a_lease_holds_is_known_whatever_was_staged_committed_and_abandoned(
    before: list[int], steps: list[Op | str]
) -> None:
    items = [KeyValue(key, b"", 1, 1, 1, lease) for key, lease in zip("abcd", before, strict=False)]
    ledger = Ledger(1, items)
    newest = {item.key: item for item in items}
    committed = dict(newest)
    staged: list[Events] = []
    for step in steps:
        if isinstance(step, Put | Delete):
            if events := ledger.stage([step]):
                staged.append(events)
                newest.update({event.key: event.now for event in events.items if event.now})
                for event in events.items:
                    if event.now is None:
                        del newest[event.key]
        elif step == "commit" and staged:
            ledger.commit(staged.pop(0))
            committed = {item.key: item for item in ledger.range("").items}
        elif step == "abandon":
            ledger.abandon()
            staged.clear()
            newest = dict(committed)
        for lease in (None, 1, 2):
            assert ledger.leased(lease) == leased(newest, lease)
