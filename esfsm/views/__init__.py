"""The readers: what a table or a journal looks like to people. They run nothing and write no file."""
