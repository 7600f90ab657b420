"""The command line: each command calls one function of the core and prints its result."""
