"""How people ask: one module per question, loaded when it is asked.

main         the table of commands and the one edge where errors become messages and exit codes
options      the flags every command takes          output      text, JSON, YAML, columns, colour
compose      settings become the loop's parts       embedded    the only module that imports the agent
"""
