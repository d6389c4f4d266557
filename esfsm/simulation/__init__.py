"""A simulated world around the real loop, engine, journal and wire: one thread, time that skips, one seed for all.

Here is only what stands in for others: payload, server, storage, disk, threads and clock. What decides is the house's
own code, so a fault that is found here is a fault of the house.
"""
