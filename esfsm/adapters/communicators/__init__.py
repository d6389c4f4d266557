"""Communicators: whoever hands out event ranges and books what became of them.

`local` is an embedded broker: `supply` makes what it begins with, `database` keeps it, `broker` moves it, `processes`
knows whose holder has died, `audit` reads it. `panda` asks a PanDA `server`, over a `connection` of some `line`s to an
`address`, with an `identity`. `harvester` writes and reads files at an `access_point`.
"""

__all__ = ["KNOWN"]

KNOWN = {"harvester": "harvester:open_harvester", "local": "local:open_local", "panda": "panda:open_panda"}
"""By name: the module in this drawer and, behind the colon, its `ports.OpenCommunicator`."""
