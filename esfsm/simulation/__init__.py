"""A simulated world around the real engine: one thread, time that skips, one seed for all.

The house's own, and under test here: loop, engine, journal, inbox's facts, performer, hooks, wire.
Stand-ins, written once more for a world without threads: the payload; the executor, which serves it as `ESProcess`
does; client and server; transfers and storages; disk and journal file; inbox, pools of threads and clock. A fault of
what they stand in for is not found here: that is for the contracts of the adapters and the jobs that are really killed.
"""
