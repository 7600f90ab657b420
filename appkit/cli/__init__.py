"""The command line: each command asks one function of the core and prints what it gives."""
