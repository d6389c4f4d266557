"""The journal: the list of facts, append-only, one JSON object a line, a checksum in each.

    {"esfsm_journal":2,"run":"...","workflow":"eventservice","tables":"1a2b3c4d","job":{...},"settings":{...},"crc":"..."}
    {"at":1700000000.1,"fact":"job_classified","answers":1,"kind":"eventservice","why":"...","crc":"..."}
    {"decided":1,"synced":0,"then":{"1":["-> classified","select_executor 2"]},"crc":"..."}

The first line says whose it is. Then come facts, the first is number 1, and after a group of facts what they led to, up
to the fact `decided`: the state entered, if any, and the actions. This can be made again from the facts, so it only
serves replay and readers. `synced` is the last fact that was surely on the disk then. `crc` is the CRC-32 of the
bytes of the line before `,"crc"`.

A damaged line ends the journal when no line behind it says that something behind it was on the disk: a torn last line,
or what a power failure left of the last writes. Any other damage is refused. One writer: file and directory are locked.
"""
