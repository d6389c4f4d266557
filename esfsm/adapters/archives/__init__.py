"""What stored outputs are wrapped in: one file per format, behind `ports.Archiver`."""

KNOWN = {"tar": "tar", "zip": "zip"}
"""Format -> module in this drawer."""
