"""Tests of Perdure: one folder a package, `architecture` for the rules of the code itself."""
