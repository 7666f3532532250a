"""The verbs of the command line, one module each, whose ``main(options)`` returns the exit code."""
