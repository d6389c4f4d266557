"""Drop-in names for pilots that exist already: `pilot3`."""
