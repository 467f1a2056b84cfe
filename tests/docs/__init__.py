"""The documentation is kept true: links lead somewhere, examples are valid, tables are current, the tutorial runs."""
