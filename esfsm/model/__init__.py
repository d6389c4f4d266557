"""The nouns: frozen values that say what PanDA says. They decide nothing."""
