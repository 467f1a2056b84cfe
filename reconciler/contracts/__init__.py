"""Small protocols, one for each outside thing, with their promises in the docstring. Types only: no behaviour lives here."""
