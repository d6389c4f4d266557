"""A PanDA server: books in SQLite, both generations of its language, and its bad habits where they are wanted.

What it says was recorded from panda-server 0.8.1 (`/server/panda/*` and `/api/v1`) and 1.0.4 (`/api/v1` only) on
PostgreSQL; the records are replayed against it. It opens no socket and has no clock: `esfsm.testing.panda` does that.

What it does not have: JEDI, brokerage, merge jobs, secrets, and whatever a pilot of the Event Service does not call.
"""
