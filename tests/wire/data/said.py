"""What PanDA servers said, for the tests of their language."""

import json
import tomllib
from pathlib import Path

SAID: dict[str, dict[str, str]] = tomllib.loads((Path(__file__).parent / "panda.toml").read_text())
"""By call and occasion."""


def v1(data: object) -> str:
    """A reply of `/api/v1` that says success."""
    return json.dumps({"success": True, "message": "", "data": data})
