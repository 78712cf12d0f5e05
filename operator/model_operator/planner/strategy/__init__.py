"""How a candidate takes the place of the serving version: in its track, or on a track beside it."""
