"""The command line, one module a family of commands; each command imports its room when it is called."""
