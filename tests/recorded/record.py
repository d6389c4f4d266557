"""The recorded jobs: NAME.jsonl is the journal of a whole job, NAME.txt the story that it must tell for ever.

    python tests/recorded/record.py                             list the scenarios
    python tests/recorded/record.py NAME...                     run them, and record them anew
    python tests/recorded/record.py NAME WORKDIR_OR_JOURNAL     add somebody's journal under a new name

Somebody's journal is added as it is: its definition, paths and texts are public from then on.
"""

import sys
from pathlib import Path

ROOM = Path(__file__).parent
sys.path.insert(0, str(ROOM.parent))

from recorded.place import Place  # noqa: E402
from recorded.scenarios import SCENARIOS  # noqa: E402

import esfsm  # noqa: E402
from esfsm.journal.file import JOURNAL  # noqa: E402


def main(arguments: list[str]) -> None:
    match arguments:
        case []:
            for name, scenario in SCENARIOS.items():
                print(f"{name:32}{scenario.__doc__}")
        case [name, origin] if origin not in SCENARIOS:
            print(added(name, Path(origin), ROOM))
        case names:
            for name in names:
                print(recorded(name, ROOM))


def recorded(name: str, room: Path) -> Path:
    """Run a scenario, and keep its journal. Exits when there is none of that name."""
    if name not in SCENARIOS:
        sys.exit(f"there is no scenario {name}; to add a journal, say where it is")
    place = Place(name)
    SCENARIOS[name](place)
    return added(name, place.workdir, room)


def added(name: str, origin: Path, room: Path) -> Path:
    """Keep a journal, or that of a work directory, with its story; raises as `replay` does, and keeps nothing then."""
    journal = origin / JOURNAL if origin.is_dir() else origin
    story = esfsm.replay(journal).lines()
    kept = room / f"{name}.jsonl"
    kept.write_bytes(journal.read_bytes())
    kept.with_suffix(".txt").write_text("".join(f"{line}\n" for line in story))
    return kept


if __name__ == "__main__":
    main(sys.argv[1:])
