"""The table of votes in PostgreSQL: votes go in, counts come out. It reconnects when the database has moved."""

import contextlib
import os
import threading

import pg8000.native

CREATE = "CREATE TABLE IF NOT EXISTS votes (voter text PRIMARY KEY, vote text NOT NULL CHECK (vote IN ('a', 'b')))"
SAVE = "INSERT INTO votes VALUES (:voter, :vote) ON CONFLICT (voter) DO UPDATE SET vote = excluded.vote"
COUNT = "SELECT count(*) FILTER (WHERE vote = 'a'), count(*) FILTER (WHERE vote = 'b') FROM votes"

ERRORS = (pg8000.native.Error, OSError)
"""What `save` and `counts` raise while the database does not answer."""


class Votes:
    """One connection, used by one thread at a time."""

    def __init__(self) -> None:
        self._connection: pg8000.native.Connection | None = None
        self._lock = threading.Lock()

    def save(self, voter: str, vote: str) -> None:
        """Keeps a voter's vote, or changes it: doing it twice is doing it once."""
        self._run(SAVE, voter=voter, vote=vote)

    def counts(self) -> dict[str, int]:
        """How many voted for each side."""
        a, b = self._run(COUNT)[0]
        return {"a": a, "b": b}

    def _run(self, sql: str, **values: str) -> list[list[int]]:
        with self._lock:
            fresh = self._connection is None
            try:
                return list(self._connect().run(sql, **values) or [])
            except ERRORS:
                self._forget()
                if fresh:
                    raise
                return list(self._connect().run(sql, **values) or [])

    def _connect(self) -> pg8000.native.Connection:
        if self._connection is None:
            connection = pg8000.native.Connection(
                "votes",
                host=os.environ["DB_HOST"],
                port=int(os.environ["DB_PORT"]),
                database="postgres",
                password=os.environ["DB_PASSWORD"],
                timeout=3,
            )
            self._connection = connection
            # Two programs that create the table at once would collide in PostgreSQL's catalogue.
            connection.run("SELECT pg_advisory_lock(1)")
            connection.run(CREATE)
            connection.run("SELECT pg_advisory_unlock(1)")
        return self._connection

    def _forget(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(ERRORS):
                self._connection.close()
            self._connection = None
