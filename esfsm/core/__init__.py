"""The decisions: facts go in, actions come out. No clock, no chance, no files, no threads: it can be replayed."""
