"""How pilot3's event service lost ranges, results and files, each loss a test that it cannot happen here.

    test_results.py     what a payload announced is heard, kept, and never deleted unstored
    test_supply.py      ranges are asked for in time, handed out once, and given back
    test_archives.py    an output is in one archive once; what cannot be packed or stored is reported failed
    test_reports.py     only the server's own word ends a range; whatever is not confirmed is said again
    test_stops.py       a stop request costs no result, and comes at any moment
    test_processes.py   a payload is ended with its children, and nobody else is
    test_sharing.py     threads and jobs of one process do not get in each other's way
    test_commands.py    command lines arrive as they were written; a merge never runs on missing inputs

The docstring of a test says what was lost there.
"""
