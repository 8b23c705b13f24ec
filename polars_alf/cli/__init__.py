"""The command line: arguments to functions to exit codes."""
