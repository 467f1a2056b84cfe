"""The architecture as tests: each rule is a function of parsed sources.

A planted violation turns each of them red, so that a rule which sees nothing is noticed.
"""
