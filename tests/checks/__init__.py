"""`make check`: the checks that build nothing and need no network, all at once."""
