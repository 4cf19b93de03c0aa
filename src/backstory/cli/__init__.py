"""The command line: one module a command, `main` to find and run them, `exit_codes` for what the shell is told."""
