"""Servers that stand in for those of others: their habits as they were observed, for tests, ours and other pilots'.

Nothing here is the pilot's own, and of ours only what a call looks like (`esfsm.wire`) is imported: a misunderstanding
of ours must not be shared by what we are tested against.
"""
