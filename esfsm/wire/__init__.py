"""The languages of the other side: text or JSON to nouns and back. Pure."""
