"""A world goes in, a plan comes out. All pure: no I/O, no clock, no dice. Start reading at ``plan``."""
