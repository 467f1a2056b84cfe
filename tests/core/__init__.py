"""The pure middle: golden plans, tables, properties."""
