"""The hands: one file for each technology, behind one door of `ports.py` each.

Each drawer's `__init__` holds a table of its names: name -> "module:attribute", and in brackets the extra to install.
"""
