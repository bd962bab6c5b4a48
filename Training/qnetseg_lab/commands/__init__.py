"""Commands that the laboratory adds to `qnetseg`, one module a command."""
