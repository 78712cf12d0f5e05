"""Takes a world and returns a plan. All pure: no I/O, no clock, no random values. Start reading at ``plan``."""
