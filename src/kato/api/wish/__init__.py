"""How a wish enters the cell: a Wish goes in; it is in force, whole or not at all, when this is done.

    request ──► Wish ──────► Draft ─────────────────► transactions ──► apps/, locks/, deployments/, kills/
    (asked)   (wish.py)    (draft.py: versions,       (flip.py)        (commit.py writes them, one wish
               find.py      ports.py: service ports,   pieces, flip,    at a time, and looks again where
                            clashes.py: whose they     settling         somebody else was quicker)
                            are, difference.py: in
                            words)

Everything but `commit.py` is pure. `versions.py` says which old versions may go.
"""

from kato.api.wish.commit import Deployed, Wishes, at_once
from kato.api.wish.draft import Draft, draft
from kato.api.wish.wish import Wish

__all__ = ["Deployed", "Draft", "Wish", "Wishes", "at_once", "draft"]
